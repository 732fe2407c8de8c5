"""iamcredentials.googleapis.com: whoever may act as a service account gets a token of it."""

import json
import re
from datetime import UTC, datetime
from typing import Any

from tests.clouds.gcp import api_answers
from tests.clouds.gcp.api_answers import api_error, error_info
from tests.clouds.gcp.state import GcpState
from tests.clouds.gcp.tokens import CLOUD_PLATFORM, IAM, KNOWN_SCOPES, Principal
from tests.clouds.wire import Request, Response

_PATH = re.compile(r"/v1/projects/-/serviceAccounts/(?P<email>[^/:]+):generateAccessToken")
_DELEGATE = re.compile(r"projects/-/serviceAccounts/(?P<email>[^/:]+)")
_SECONDS = re.compile(r"([0-9]+)s")
_PERMISSION = "iam.serviceAccounts.getAccessToken"


class IamCredentials:
    """Each of the chain must be permitted to the one before it."""

    name = "iamcredentials"

    def __init__(self, state: GcpState) -> None:
        self._state = state

    async def answer(self, request: Request) -> Response:
        """Answer generateAccessToken."""
        request.note.operation = "GenerateAccessToken"
        match = _PATH.fullmatch(request.plain_path)
        if match is None or request.method != "POST":
            return api_error(404, "NOT_FOUND", "Method not found.")
        caller = self._caller(request)
        if isinstance(caller, Response):
            return caller
        request.note.principal, request.note.subject = caller.name, match["email"]
        try:
            wanted = dict(json.loads(await request.body()))
        except (ValueError, TypeError):
            return _invalid("Invalid JSON payload received.")
        return self._generate(caller, match["email"], wanted)

    def throttled(self, retry_after: int | None) -> Response:
        """Throttle."""
        return api_answers.throttled(retry_after)

    def failed(self, status: int) -> Response:
        """Be unwell."""
        return api_answers.failed(status)

    def _caller(self, request: Request) -> Principal | Response:
        scheme, _, text = request.headers.get("authorization", "").partition(" ")
        token = self._state.tokens.find(text, self._state.clock.now()) if scheme == "Bearer" else None
        if token is None:
            return api_error(
                401,
                "UNAUTHENTICATED",
                "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie "
                "or other valid authentication credential.",
            )
        if "iamcredentials" in self._state.disabled_services:
            return api_error(
                403,
                "PERMISSION_DENIED",
                "IAM Service Account Credentials API has not been used in project 123456 before or it is "
                "disabled.",
                (error_info("SERVICE_DISABLED", "googleapis.com", service="iamcredentials.googleapis.com"),),
            )
        if not token.scopes & {CLOUD_PLATFORM, IAM}:
            return api_error(
                403,
                "PERMISSION_DENIED",
                "Request had insufficient authentication scopes.",
                (error_info("ACCESS_TOKEN_SCOPE_INSUFFICIENT", "googleapis.com"),),
            )
        return token.principal

    def _generate(self, caller: Principal, email: str, wanted: dict[str, Any]) -> Response:
        scopes = frozenset(wanted.get("scope") or ())
        if not scopes or scopes - KNOWN_SCOPES:
            return _invalid("Invalid value for scope.")
        chain = [_DELEGATE.fullmatch(str(each)) for each in wanted.get("delegates") or ()]
        if None in chain:
            return _invalid("Invalid value for delegates: projects/-/serviceAccounts/{EMAIL} is expected.")
        for each in (*(link["email"] for link in chain if link is not None), email):
            if not self._state.model.may_act_as(caller, each):
                return _denied()
            caller = Principal.of_account(each)
        return self._token(caller, email, scopes, str(wanted.get("lifetime") or "3600s"))

    def _token(self, target: Principal, email: str, scopes: frozenset[str], lifetime: str) -> Response:
        seconds = _SECONDS.fullmatch(lifetime)
        if seconds is None or not 0 < int(seconds[1]) <= self._state.model.accounts[email].longest_seconds:
            return _invalid(
                "The access token lifetime cannot exceed 3600s. To use a longer lifetime, see the constraint "
                "constraints/iam.allowServiceAccountCredentialLifetimeExtension."
            )
        token, life = self._state.issue(target, scopes, float(seconds[1]))
        end = datetime.fromtimestamp(int(self._state.clock.now()) + life + 1, UTC)
        return Response.of_json(200, {"accessToken": token, "expireTime": end.strftime("%Y-%m-%dT%H:%M:%SZ")})


def _invalid(message: str) -> Response:
    return api_error(400, "INVALID_ARGUMENT", message)


def _denied() -> Response:
    return api_error(
        403,
        "PERMISSION_DENIED",
        f"Permission '{_PERMISSION}' denied on resource (or it may not exist).",
        (error_info("IAM_PERMISSION_DENIED", "iam.googleapis.com", permission=_PERMISSION),),
    )
