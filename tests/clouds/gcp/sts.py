"""sts.googleapis.com: somebody else's proof becomes a federated access token."""

import base64
import json
import re
from collections.abc import Mapping
from typing import Any, NoReturn
from urllib.parse import parse_qs

from tests.clouds.gcp import api_answers
from tests.clouds.gcp.api_answers import token_answer
from tests.clouds.gcp.aws_proof import AwsProofs, UnprovenError
from tests.clouds.gcp.model import PoolProvider
from tests.clouds.gcp.oauth2 import RefusedError, read_scopes
from tests.clouds.gcp.state import GcpState
from tests.clouds.gcp.tokens import Principal
from tests.clouds.oidc import Claims, Flaw, FlawedTokenError, TokenVerifier
from tests.clouds.wire import Request, Response

_GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
_ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
_JWT = frozenset({"urn:ietf:params:oauth:token-type:jwt", "urn:ietf:params:oauth:token-type:id_token"})
_AWS = "urn:ietf:params:aws:token-type:aws4_request"
_PROVIDER = re.compile(
    r"//iam\.googleapis\.com/projects/[0-9]+/locations/global/workloadIdentityPools/[a-z0-9-]{4,32}"
    r"/providers/[a-z0-9-]{4,32}"
)
_LONGEST_SUBJECT = 127
# The first is quoted in public; the others' wording is assumed.
_WORDS = {
    Flaw.MALFORMED: "Unable to parse the ID Token.",
    Flaw.ISSUER_UNREACHABLE: "Error connecting to the given credential's issuer.",
    Flaw.ISSUER_MISMATCH: "The issuer in the discovery document does not match the ID Token's.",
    Flaw.KEY_UNKNOWN: "Unable to verify the ID Token signature: no key with the token's kid.",
    Flaw.SIGNATURE: "Invalid ID Token signature.",
    Flaw.EXPIRED: "ID Token is stale to sign-in: it has expired.",
    Flaw.NOT_YET: "ID Token is not yet valid: it was issued in the future.",
}


class _Uploaded:
    """The keys that were uploaded with a provider, where its issuer's would be fetched."""

    def __init__(self, provider: PoolProvider) -> None:
        self._provider = provider

    async def get_json(self, url: str) -> Any:  # noqa: ANN401 -- as fetched
        if url.endswith("/.well-known/openid-configuration"):
            return {"issuer": self._provider.issuer, "jwks_uri": "uploaded"}
        return self._provider.keys


class Sts:
    """Looks for the provider, then checks the proof, then the attribute condition."""

    name = "sts-google"

    def __init__(self, state: GcpState, verifier: TokenVerifier, aws: AwsProofs) -> None:
        self._state = state
        self._verifier = verifier
        self._aws = aws

    async def answer(self, request: Request) -> Response:
        """Answer `POST /v1/token`."""
        request.note.operation = "ExchangeToken"
        if (request.method, request.path) != ("POST", "/v1/token"):
            return api_answers.api_error(404, "NOT_FOUND", "Method not found.")
        form = {name: values[0] for name, values in parse_qs((await request.body()).decode()).items()}
        try:
            return await self._exchange(request, form)
        except RefusedError as error:
            return error.answer

    def throttled(self, retry_after: int | None) -> Response:
        """Throttle."""
        return api_answers.throttled(retry_after)

    def failed(self, status: int) -> Response:
        """Be unwell."""
        return api_answers.failed(status)

    async def _exchange(self, request: Request, form: Mapping[str, str]) -> Response:
        if form.get("grant_type") != _GRANT:
            _refuse("unsupported_grant_type", f"Unsupported grant type: {form.get('grant_type')}")
        if form.get("requested_token_type") != _ACCESS_TOKEN:
            _refuse("invalid_request", "Invalid requested token type.")
        provider, scopes = self._provider(form), read_scopes(form.get("scope", ""))
        kind, proof = form.get("subject_token_type", ""), form.get("subject_token", "")
        seconds = None
        if kind == _AWS and provider.aws_account:
            principal = await self._by_aws(provider, proof)
        elif kind in _JWT and provider.issuer:
            claims = await self._by_token(provider, proof)
            principal = self._mapped(provider, claims.subject)
            if self._state.tokens_end_with_assertions:
                seconds = claims.expires_at - self._state.clock.now()
        else:
            _refuse("invalid_request", "Invalid value for subject_token_type.")
        request.note.principal, request.note.subject = principal.name, " ".join(sorted(scopes))
        token, life = self._state.issue(principal, scopes, seconds, "ya29.d.")
        return token_answer(token, life, issued_token_type=_ACCESS_TOKEN)

    def _provider(self, form: Mapping[str, str]) -> PoolProvider:
        name = form.get("audience", "")
        if _PROVIDER.fullmatch(name) is None:
            _refuse(
                "invalid_request",
                'Invalid value for "audience". This value should be the full resource name of the Identity '
                "Provider. See https://cloud.google.com/iam/docs/reference/sts/rest/v1/TopLevel/token for "
                "the list of possible formats.",
            )
        provider = self._state.model.providers.get(name)
        if provider is None or not provider.is_enabled:
            _refuse(
                "invalid_target",
                'The target service indicated by the "audience" parameters is invalid. This might either be '
                "because the pool or provider is disabled or deleted or because it doesn't exist.",
            )
        return provider

    async def _by_token(self, provider: PoolProvider, token: str) -> Claims:
        verifier = self._verifier if provider.keys is None else TokenVerifier(_Uploaded(provider))
        try:
            if (issuer := _issuer_of(token)) != provider.issuer:
                _refuse(
                    "invalid_grant",
                    f"The issuer in ID Token {issuer} does not match the expected ones: {provider.issuer}",
                )
            claims = await verifier.verify(token, self._state.clock.now())
        except FlawedTokenError as error:
            _refuse("invalid_grant", _WORDS[error.flaw])
        if not provider.takes(claims.audience):
            _refuse(
                "invalid_grant",
                f"The audience in ID Token [{claims.audience}] does not match the expected audience.",
            )
        if claims.expires_at - claims.raw["iat"] > self._state.longest_assertion_seconds:
            _refuse("invalid_grant", "ID Token lives too long: exp is more than 24 hours after iat.")
        return claims

    async def _by_aws(self, provider: PoolProvider, proof: str) -> Principal:
        try:
            caller = await self._aws.caller(proof, provider.name)
        except UnprovenError as error:
            _refuse("invalid_grant", str(error))
        if caller.account != provider.aws_account:
            _refuse("invalid_grant", f"The AWS account {caller.account} is not the provider's.")
        return self._mapped(provider, caller.arn, aws_role=caller.role)

    def _mapped(self, provider: PoolProvider, subject: str, **attributes: str) -> Principal:
        if len(subject.encode()) > _LONGEST_SUBJECT:
            _refuse(
                "invalid_grant", "The size of mapped attribute google.subject exceeds the 127 bytes limit."
            )
        if not provider.permits(subject):
            _refuse("unauthorized_client", "The given credential is rejected by the attribute condition.")
        return provider.principal(subject, **attributes)


def _issuer_of(token: str) -> str:
    """Return whom a token says to be from, before anybody is asked for keys; raise FlawedTokenError."""
    try:
        body = token.split(".")[1]
        return str(json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))["iss"])
    except (ValueError, LookupError, TypeError):
        raise FlawedTokenError(Flaw.MALFORMED) from None


def _refuse(error: str, description: str) -> NoReturn:
    raise RefusedError(error, description)
