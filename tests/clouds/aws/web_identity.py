"""AssumeRoleWithWebIdentity: an identity token of an issuer that the role's account knows, for a role."""

import base64
import json
from collections.abc import Mapping
from xml.sax.saxutils import escape

from tests.clouds.aws.model import Federation, Role
from tests.clouds.aws.places import Place
from tests.clouds.aws.refusals import AwsRefusalError, Refused
from tests.clouds.aws.sessions import assumed, check_fields, opened
from tests.clouds.aws.state import AwsState
from tests.clouds.oidc import Claims, Flaw, FlawedTokenError, TokenVerifier

_WORDS = {
    Flaw.MALFORMED: (Refused.IDENTITY_TOKEN, "The ID Token provided is not a valid JWT."),
    Flaw.ISSUER_UNREACHABLE: (Refused.ISSUER, "Couldn't reach the identity provider."),
    Flaw.ISSUER_MISMATCH: (Refused.IDENTITY_TOKEN, "The issuer of the token is not the provider's."),
    Flaw.KEY_UNKNOWN: (Refused.IDENTITY_TOKEN, "No key of the provider signed the token."),
    Flaw.SIGNATURE: (Refused.IDENTITY_TOKEN, "The token's signature is not valid."),
    Flaw.EXPIRED: (
        Refused.IDENTITY_TOKEN_EXPIRED,
        "Token expired: current date/time must be before the expiration date/time",
    ),
    Flaw.NOT_YET: (Refused.IDENTITY_TOKEN, "The token was issued in the future."),
}
"""Codes are those of botocore's model; most of the words are assumed."""


class WebIdentities:
    """Whoever has the token may ask: the call is not signed."""

    def __init__(self, state: AwsState, verifier: TokenVerifier) -> None:
        self._state = state
        self._verifier = verifier

    async def assume(self, form: Mapping[str, str], place: Place) -> str:
        """Return the part of the answer that tells of the session; raise AwsRefusalError."""
        check_fields(form)
        token, role_arn = form.get("WebIdentityToken", ""), form["RoleArn"]
        account = role_arn.split(":")[4]
        self._state.require_region(account, place.region)
        audiences = self._audiences(account, token)
        claims = await self._verified(token)
        if claims.audience not in audiences:
            raise AwsRefusalError(Refused.IDENTITY_TOKEN, "Incorrect token audience")
        role = self._state.model.roles.get(role_arn)
        if role is None or role.partition != place.partition or not _is_trusted(role, claims):
            raise AwsRefusalError(Refused.DENIED, "Not authorized to perform sts:AssumeRoleWithWebIdentity")
        key = opened(self._state, role, form, None)
        provider = f"arn:{role.partition}:iam::{account}:oidc-provider/{_bare(claims.issuer)}"
        return (
            f"{assumed(key)}<SubjectFromWebIdentityToken>{escape(claims.subject)}"
            f"</SubjectFromWebIdentityToken><Audience>{escape(claims.audience)}</Audience>"
            f"<Provider>{escape(provider)}</Provider>"
        )

    def _audiences(self, account: str, token: str) -> set[str]:
        """Return the client ids of the token's issuer in the account; one unknown there is not looked up."""
        issuer = _issuer(token)
        known = self._state.model.oidc_providers.get((account, issuer))
        if known is None:
            raise AwsRefusalError(
                Refused.IDENTITY_TOKEN, f"No OpenIDConnect provider found in your account for {issuer}"
            )
        return known

    async def _verified(self, token: str) -> Claims:
        try:
            claims = await self._verifier.verify(token, self._state.clock.now())
        except FlawedTokenError as error:
            why, words = _WORDS[error.flaw]
            raise AwsRefusalError(why, words) from None
        if claims.issuer in self._state.rejected_issuers:
            raise AwsRefusalError(Refused.CLAIM, "The identity provider rejected the claim.")
        return claims


def _is_trusted(role: Role, claims: Claims) -> bool:
    return any(_fits(each, claims) for each in role.federations)


def _fits(federation: Federation, claims: Claims) -> bool:
    return (
        federation.issuer == claims.issuer
        and federation.audience in {None, claims.audience}
        and federation.subject in {None, claims.subject}
    )


def _issuer(token: str) -> str:
    """Return whom an unverified token says it is from."""
    try:
        body = token.split(".")[1]
        issuer = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))["iss"]
    except (IndexError, ValueError, KeyError, TypeError):
        raise AwsRefusalError(*_WORDS[Flaw.MALFORMED]) from None
    return str(issuer)


def _bare(issuer: str) -> str:
    return issuer.removeprefix("https://")
