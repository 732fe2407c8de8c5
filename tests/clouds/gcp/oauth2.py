"""oauth2.googleapis.com: a service account's signed assertion becomes an access token."""

import base64
import json
from typing import Any, NoReturn
from urllib.parse import parse_qs

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256

from tests.clouds.gcp import api_answers
from tests.clouds.gcp.api_answers import oauth_error, token_answer
from tests.clouds.gcp.state import GcpState
from tests.clouds.gcp.tokens import KNOWN_SCOPES, Principal
from tests.clouds.wire import Request, Response

_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_AUDIENCE = "https://oauth2.googleapis.com/token"
_LONGEST_SECONDS = 3600
_SKEW_SECONDS = 300
_UNTIMELY = (
    "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. Check your "
    "iat and exp values in the JWT claim."
)


class RefusedError(Exception):
    """The token endpoint refuses."""

    def __init__(self, error: str, description: str) -> None:
        super().__init__(error)
        self.answer = oauth_error(error, description)


class OAuth2:
    """Takes RS256 assertions that are signed with a key of the account they name."""

    name = "oauth2"

    def __init__(self, state: GcpState) -> None:
        self._state = state

    async def answer(self, request: Request) -> Response:
        """Answer `POST /token`."""
        request.note.operation = "Token"
        if (request.method, request.path) != ("POST", "/token"):
            return Response(404, (("Content-Type", "text/html"),), b"<html>Not Found</html>")
        form = {name: values[0] for name, values in parse_qs((await request.body()).decode()).items()}
        if form.get("grant_type") != _GRANT:
            return oauth_error("unsupported_grant_type", f"Invalid grant_type: {form.get('grant_type')}")
        try:
            principal, scopes = self._principal(form.get("assertion", ""))
        except RefusedError as error:
            return error.answer
        request.note.principal, request.note.subject = principal.name, " ".join(sorted(scopes))
        return token_answer(*self._state.issue(principal, scopes))

    def throttled(self, retry_after: int | None) -> Response:
        """Throttle."""
        return api_answers.throttled(retry_after)

    def failed(self, status: int) -> Response:
        """Be unwell."""
        return oauth_error("internal_failure", "Backend Error", status)

    def _principal(self, assertion: str) -> tuple[Principal, frozenset[str]]:
        header, claims, signed, signature = _parted(assertion)
        email = str(claims.get("iss", ""))
        account = self._state.model.accounts.get(email)
        if account is None:
            _refuse("invalid_grant", "Invalid grant: account not found")
        key = account.key(str(header.get("kid", "")))
        if header.get("alg") != "RS256" or key is None:
            _refuse("invalid_grant", "Invalid JWT Signature.")
        try:
            key.verify(signature, signed, PKCS1v15(), SHA256())
        except InvalidSignature:
            _refuse("invalid_grant", "Invalid JWT Signature.")
        if claims.get("aud") != _AUDIENCE:
            _refuse("invalid_grant", "Invalid JWT: Failed audience check.")
        _check_times(claims, self._state.clock.now())
        return Principal.of_account(email), read_scopes(str(claims.get("scope", "")))


def read_scopes(text: str) -> frozenset[str]:
    """Return the scopes asked for; raise RefusedError."""
    scopes = frozenset(text.split())
    if not scopes:
        _refuse("invalid_scope", "Empty or missing scope not allowed.")
    if unknown := sorted(scopes - KNOWN_SCOPES):
        _refuse("invalid_scope", f"Invalid OAuth scope or ID token audience provided: {unknown[0]}")
    return scopes


def _check_times(claims: dict[str, Any], now: float) -> None:
    issued_at, expires_at = claims.get("iat"), claims.get("exp")
    is_timely = (
        isinstance(issued_at, int)
        and isinstance(expires_at, int)
        and expires_at - issued_at <= _LONGEST_SECONDS
        and issued_at <= now + _SKEW_SECONDS
        and now < expires_at
    )
    if not is_timely:
        _refuse("invalid_grant", _UNTIMELY)


def _parted(assertion: str) -> tuple[dict[str, Any], dict[str, Any], bytes, bytes]:
    try:
        head, body, signature = assertion.split(".")
        header, claims = json.loads(_decoded(head)), json.loads(_decoded(body))
        return dict(header), dict(claims), f"{head}.{body}".encode(), _decoded(signature)
    except (ValueError, TypeError):
        _refuse("invalid_grant", "Bad Request: the assertion is no JWT")


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _refuse(error: str, description: str) -> NoReturn:
    raise RefusedError(error, description)
