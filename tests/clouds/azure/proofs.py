"""How an application proves itself to Entra: a secret, a certificate's signature, or a foreign token."""

import base64
from collections.abc import Mapping
from datetime import UTC, datetime

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.x509 import Certificate, load_pem_x509_certificate

from tests.clouds.azure import aadsts
from tests.clouds.azure.aadsts import EntraRefusalError
from tests.clouds.azure.jwt import BadTokenError, Parted, part
from tests.clouds.azure.model import Federation, Identity
from tests.clouds.azure.state import AzureState
from tests.clouds.oidc import Flaw, FlawedTokenError

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_SKEW_SECONDS = 300


class Proofs:
    """Checks what a client sends; raises EntraRefusalError."""

    def __init__(self, state: AzureState) -> None:
        self._state = state

    async def check(self, identity: Identity, form: Mapping[str, str], audiences: frozenset[str]) -> None:
        """Return quietly when the form proves that it is this identity's; `audiences` name this endpoint."""
        secret, assertion = form.get("client_secret"), form.get("client_assertion")
        if secret is not None:
            self._check_secret(identity, secret)
        elif assertion is not None and form.get("client_assertion_type") == ASSERTION_TYPE:
            await self._check_assertion(identity, assertion, audiences)
        else:
            words = "The request body must contain 'client_assertion' or 'client_secret'."
            raise EntraRefusalError(aadsts.NO_PROOF, words)

    def _check_secret(self, identity: Identity, secret: str) -> None:
        ends = identity.secrets.get(secret)
        if ends is None:
            words = (
                "Invalid client secret provided. Ensure the secret being sent in the request is the client "
                f"secret value, not the client secret ID, for a secret added to app '{identity.client_id}'."
            )
            raise EntraRefusalError(aadsts.WRONG_SECRET, words)
        if ends <= self._state.clock.now():
            words = f"The provided client secret keys for app '{identity.client_id}' are expired."
            raise EntraRefusalError(aadsts.SECRET_ENDED, words)

    async def _check_assertion(self, identity: Identity, assertion: str, audiences: frozenset[str]) -> None:
        try:
            parted = part(assertion)
        except BadTokenError:
            raise EntraRefusalError(aadsts.BAD_ASSERTION, "Client assertion is not a valid token.") from None
        if "x5t" in parted.header or "x5t#S256" in parted.header:
            self._check_certificate(identity, parted, audiences)
        else:
            await self._check_federation(identity, assertion, parted)

    def _check_certificate(self, identity: Identity, parted: Parted, audiences: frozenset[str]) -> None:
        certificate = next(
            (
                found
                for found in (load_pem_x509_certificate(pem.encode()) for pem in identity.certificates)
                if _is_named(found, parted.header)
            ),
            None,
        )
        if certificate is None:
            raise _bad_assertion("The key was not found.")
        key = certificate.public_key()
        assert isinstance(key, RSAPublicKey)
        try:
            parted.verify(key)
        except BadTokenError:
            raise _bad_assertion("The key was found, but the signature is not valid.") from None
        now = self._state.clock.now()
        if certificate.not_valid_after_utc <= datetime.fromtimestamp(now, UTC):
            raise _bad_assertion("The key used is expired.")
        claims = parted.claims
        if not _is_current(claims.get("exp"), claims.get("nbf", claims.get("iat")), now):
            raise EntraRefusalError(aadsts.UNTIMELY, "Client assertion is not within its valid time range.")
        if claims.get("aud") not in audiences or {claims.get("iss"), claims.get("sub")} != {
            identity.client_id
        }:
            raise _bad_assertion("Audience, issuer or subject is another's.")

    async def _check_federation(self, identity: Identity, assertion: str, parted: Parted) -> None:
        claims, now = parted.claims, self._state.clock.now()
        issuer = str(claims.get("iss", ""))
        if issuer.startswith(("https://sts.windows.net/", "https://login.microsoftonline.com/")):
            words = (
                "Tokens issued by Microsoft Entra may not be used for federated identity credential flows."
            )
            raise EntraRefusalError(aadsts.OWN_TOKEN, words)
        seen = [each for each in identity.federations if each.works_from <= now]
        triple = (issuer, str(claims.get("sub", "")), str(claims.get("aud", "")))
        if triple not in [(each.issuer, each.subject, each.audience) for each in seen]:
            raise self._mismatch(seen, triple)
        try:
            await self._state.verifier.verify(assertion, now)
        except FlawedTokenError as error:
            raise _flawed(error.flaw) from None

    def _mismatch(self, seen: list[Federation], triple: tuple[str, str, str]) -> EntraRefusalError:
        issuer, subject, audience = triple
        same_issuer = [each for each in seen if each.issuer == issuer]
        told = (
            f"Assertion Issuer: '{issuer}'. Assertion Subject: '{subject}'. Assertion Audience: '{audience}'."
        )
        if not seen or not self._state.names_federation_mismatch:
            words = f"No matching federated identity record found for presented assertion. {told}"
            return EntraRefusalError(aadsts.NO_FEDERATION, words)
        if not same_issuer:
            words = f"No matching federated identity record found for presented assertion issuer '{issuer}'."
            return EntraRefusalError(aadsts.OTHER_ISSUER, words)
        if any(each.subject == subject for each in same_issuer):
            words = (
                f"No matching federated identity record found for presented assertion audience '{audience}'."
            )
            return EntraRefusalError(aadsts.OTHER_AUDIENCE, words)
        words = f"No matching federated identity record found for presented assertion subject '{subject}'."
        return EntraRefusalError(aadsts.OTHER_SUBJECT, words)


def _is_named(certificate: Certificate, header: Mapping[str, object]) -> bool:
    """Whether a header names a certificate, by either thumbprint, padded or not."""
    for name, kind in (("x5t", SHA1()), ("x5t#S256", SHA256())):  # noqa: S303 -- what the header holds
        thumbprint = base64.urlsafe_b64encode(certificate.fingerprint(kind)).rstrip(b"=").decode()
        if str(header.get(name, "")).rstrip("=") == thumbprint:
            return True
    return False


def _is_current(ends: object, begins: object, now: float) -> bool:
    if not isinstance(ends, int | float) or now - _SKEW_SECONDS >= ends:
        return False
    return begins is None or (isinstance(begins, int | float) and begins <= now + _SKEW_SECONDS)


def _bad_assertion(reason: str) -> EntraRefusalError:
    words = (
        "The certificate with identifier used to sign the client assertion is not registered on application. "
        f"[Reason - {reason}]"
    )
    return EntraRefusalError(aadsts.BAD_ASSERTION, words)


def _flawed(flaw: Flaw) -> EntraRefusalError:
    if flaw in {Flaw.ISSUER_UNREACHABLE, Flaw.ISSUER_MISMATCH}:
        return EntraRefusalError(aadsts.ISSUER_UNREACHABLE, "Request to External OIDC endpoint failed.")
    if flaw in {Flaw.EXPIRED, Flaw.NOT_YET}:
        return EntraRefusalError(aadsts.UNTIMELY, "Client assertion is not within its valid time range.")
    return EntraRefusalError(aadsts.BAD_ASSERTION, "Client assertion contains an invalid signature.")
