"""Who asks: the bearer of an access token, checked before anything else of a request is read."""

import math
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from vreg_api import problems
from vreg_api.permissions import Limits
from vreg_api.problem_responses import as_problem, problem_response
from vreg_api.problems import Case, ProblemError
from vreg_shared.clock import Clock
from vreg_shared.errors import VregError
from vreg_shared.failure_limit import FailureLimit, source_of
from vreg_shared.messages.access import AccessRecord, InvalidTokenError, Role, access_id_of, hash_token
from vreg_shared.secret import Secret

PROTECTED: Final = "/api/"
LOOK_AGAIN_SECONDS: Final = 5.0
"""How long a stream may go on after its token was taken away or changed."""
_MAX_HEADER: Final = 512
_NOBODY: Final = AccessRecord(id="", name="", secret_sha256=hash_token(Secret("")), role="puller")


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks, as the audit tells it, and what he may do. `limits` None means every virtual registry."""

    access_id: str
    name: str
    role: Role = "puller"
    limits: Limits = None


class Authenticates(Protocol):
    """Who knows one kind of bearer; signing in by other means is another of these."""

    async def authenticate(self, bearer: Secret) -> Actor:
        """Return who holds `bearer`; raise ProblemError (401) or DatabaseUnavailableError."""
        ...


class AccessRecords(Protocol):
    """Where access tokens are kept."""

    async def find_record(self, access_id: str) -> AccessRecord | None:
        """Return the record, or None if there is none (any more)."""
        ...


class Uses(Protocol):
    """Who wants to know which access tokens are used."""

    def used(self, access_id: str) -> None:
        """Take note."""
        ...


class AccessTokenAuthenticator:
    """Knows access tokens, whatever their role; what they may do is decided later."""

    def __init__(self, access: AccessRecords, uses: Uses, clock: Clock) -> None:
        self._access = access
        self._uses = uses
        self._clock = clock

    async def authenticate(self, bearer: Secret) -> Actor:
        """Return who holds `bearer`; raise ProblemError (401) or DatabaseUnavailableError."""
        try:
            record = await self._access.find_record(access_id_of(bearer))
        except InvalidTokenError as error:
            raise _refused() from error
        now = self._clock.now()
        proved = (record or _NOBODY).proves(bearer, now)  # as long for an unknown id as for a known one
        if record is None or not proved:
            raise _refused()
        if not record.is_live(now):
            raise _unauthenticated(problems.INVALID_TOKEN, "the access token has expired")
        self._uses.used(record.id)
        limits = None if record.registry_ids is None else frozenset(record.registry_ids)
        return Actor(record.id, record.name, record.role, limits)


class FailedAttempts:
    """Tells whoever fails too often to wait, by his address and by the id he tries."""

    def __init__(self, limit: FailureLimit, clock: Clock) -> None:
        self._limit = limit
        self._clock = clock

    def answer(self, problem: ProblemError, address: str, bearer: Secret) -> ProblemError:
        """Count a failure, and return what to answer instead of `problem` if there were too many."""
        keys = [f"address {source_of(address)}"]
        with suppress(InvalidTokenError):
            keys.append(f"id {access_id_of(bearer)}")
        wait = self._limit.failed(keys, self._clock.monotonic())
        if wait == 0.0:
            return problem
        detail = "too many access tokens from here, or for this id, were not valid; a valid one still is"
        headers = {"Retry-After": str(math.ceil(wait))}
        return ProblemError(problems.TOO_MANY_FAILURES, detail, headers=headers)

    def forget(self, actor: Actor) -> None:
        """Let an id that was proved begin anew; its address may be many people's."""
        self._limit.proved(f"id {actor.access_id}")


class Standing:
    """Whether who asked may still be answered: for answers that take longer than a token may last."""

    def __init__(self, actor: Actor, bearer: Secret, authenticator: Authenticates, clock: Clock) -> None:
        self._actor = actor
        self._bearer = bearer
        self._authenticator = authenticator
        self._clock = clock
        self._looked_at = clock.monotonic()

    async def holds(self) -> bool:
        """Look the token up again now and then; False when it is gone or changed in any way.

        Raises DatabaseUnavailableError.
        """
        now = self._clock.monotonic()
        if now < self._looked_at + LOOK_AGAIN_SECONDS:
            return True
        self._looked_at = now
        try:
            return await self._authenticator.authenticate(self._bearer) == self._actor
        except ProblemError:
            return False


class Guard:
    """Lets only authenticated requests through to what lies below `/api/`."""

    def __init__(
        self, app: ASGIApp, authenticator: Authenticates, failed: FailedAttempts, clock: Clock
    ) -> None:
        self._app = app
        self._authenticator = authenticator
        self._failed = failed
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 401 or 429, or pass the request on with its actor."""
        if scope["type"] == "http" and scope["path"].startswith(PROTECTED):
            try:
                actor = await self._actor(scope)
            except VregError as error:
                await problem_response(as_problem(error))(scope, receive, send)
                return
            state = scope.setdefault("state", {})
            state["actor"], state["standing"] = actor, self._standing(scope, actor)
        await self._app(scope, receive, send)

    def _standing(self, scope: Scope, actor: Actor) -> Standing:
        bearer = _bearer(Headers(scope=scope).get("authorization"))
        return Standing(actor, bearer, self._authenticator, self._clock)

    async def _actor(self, scope: Scope) -> Actor:
        bearer = _bearer(_only(Headers(scope=scope).getlist("authorization")))
        try:
            actor = await self._authenticator.authenticate(bearer)
        except ProblemError as problem:
            if problem.case is not problems.INVALID_TOKEN:
                raise
            address = (scope.get("client") or ("", 0))[0]
            raise self._failed.answer(problem, address, bearer) from problem
        self._failed.forget(actor)
        return actor


def actor_of(request: Request) -> Actor:
    """Return who makes the request; it is behind a `Guard`."""
    actor = request.state.actor
    if not isinstance(actor, Actor):
        message = "the request did not pass the guard"
        raise TypeError(message)
    return actor


def standing_of(request: Request) -> Standing:
    """Return whether who makes the request may still; it is behind a `Guard`."""
    standing = request.state.standing
    if not isinstance(standing, Standing):
        message = "the request did not pass the guard"
        raise TypeError(message)
    return standing


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
