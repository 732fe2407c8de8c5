"""Who asks: the bearer of an admin's access token, checked before anything else of a request is read."""

from dataclasses import dataclass
from typing import Final, Protocol

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from vreg_api import problems
from vreg_api.problem_responses import as_problem, problem_response
from vreg_api.problems import Case, ProblemError
from vreg_shared.clock import Clock
from vreg_shared.errors import VregError
from vreg_shared.messages.access import AccessRecord, InvalidTokenError, access_id_of, hash_token
from vreg_shared.secret import Secret

PROTECTED: Final = "/api/"
_MAX_HEADER: Final = 512
_NOBODY: Final = AccessRecord(id="", name="", secret_sha256=hash_token(Secret("")), role="puller")


@dataclass(frozen=True, slots=True)
class Actor:
    """Who makes a change, as the audit tells it."""

    access_id: str
    name: str


class AccessRecords(Protocol):
    """Where access tokens are kept."""

    async def find_record(self, access_id: str) -> AccessRecord | None:
        """Return the record, or None if there is none (any more)."""
        ...


class Authenticator:
    """Reads an Authorization header. In this version only admins have anything to do here."""

    def __init__(self, access: AccessRecords, clock: Clock) -> None:
        self._access = access
        self._clock = clock

    async def authenticate(self, header: str | None) -> Actor:
        """Return who sent `header`; raise ProblemError (401, 403) or DatabaseUnavailableError."""
        token = _bearer(header)
        try:
            record = await self._access.find_record(access_id_of(token))
        except InvalidTokenError as error:
            raise _refused() from error
        proved = (record or _NOBODY).proves(token)  # as long for an unknown id as for a known one
        if record is None or not proved:
            raise _refused()
        if not record.is_live(self._clock.now()):
            raise _unauthenticated(problems.INVALID_TOKEN, "the access token has expired")
        if record.role != "admin":
            raise ProblemError(problems.FORBIDDEN, f"the role {record.role} does not allow this; admin does")
        return Actor(record.id, record.name)


class Guard:
    """Lets only authenticated requests through to what lies below `/api/`."""

    def __init__(self, app: ASGIApp, authenticator: Authenticator) -> None:
        self._app = app
        self._authenticator = authenticator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 401 or 403, or pass the request on with its actor."""
        if scope["type"] == "http" and scope["path"].startswith(PROTECTED):
            try:
                header = _only(Headers(scope=scope).getlist("authorization"))
                actor = await self._authenticator.authenticate(header)
            except VregError as error:
                await problem_response(as_problem(error))(scope, receive, send)
                return
            scope.setdefault("state", {})["actor"] = actor
        await self._app(scope, receive, send)


def actor_of(request: Request) -> Actor:
    """Return who makes the request; it is behind a `Guard`."""
    actor = request.state.actor
    if not isinstance(actor, Actor):
        message = "the request did not pass the guard"
        raise TypeError(message)
    return actor


def _only(values: list[str]) -> str | None:
    """Return the one header; with two of them nobody knows who is meant."""
    if len(values) > 1:
        raise _refused()
    return values[0] if values else None


def _bearer(header: str | None) -> Secret:
    if header is None:
        raise _unauthenticated(problems.UNAUTHENTICATED, "send Authorization: Bearer with an access token")
    scheme, _, token = header[:_MAX_HEADER].partition(" ")
    if scheme.lower() != "bearer":
        raise _unauthenticated(problems.UNAUTHENTICATED, "send Authorization: Bearer with an access token")
    return Secret(token.strip())


def _refused() -> ProblemError:
    return _unauthenticated(problems.INVALID_TOKEN, "the access token is unknown, revoked or mistyped")


def _unauthenticated(case: Case, detail: str) -> ProblemError:
    error = ', error="invalid_token"' if case is problems.INVALID_TOKEN else ""
    return ProblemError(case, detail, headers={"WWW-Authenticate": f'Bearer realm="vreg"{error}'})
