"""Requests refused for who sent them: none goes unrecorded, and no flood of them fills the audit.

The first of its like is recorded at once. More within the window are counted, and told by one event at its
end. Of more kinds than can be told apart at once, the rest are counted together. What anybody may invent,
such as the id of a token that proves nothing, makes no kind; and who proved his token has room of his own.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Final

import structlog
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vreg_api.ledger import Ledger
from vreg_api.store.database import ConflictError, Database, DatabaseUnavailableError
from vreg_shared.clock import Clock
from vreg_shared.failure_limit import source_of
from vreg_shared.messages.access import InvalidTokenError, access_id_of
from vreg_shared.messages.audit_facts import AccessRefused
from vreg_shared.secret import Secret
from vreg_shared.telemetry import redact_text

WINDOW_SECONDS: Final = 60.0
MAX_KINDS: Final = 1000
LOOK_SECONDS: Final = 1.0
NOBODY: Final = "nobody"
_TOO_MANY: Final = "too many to tell apart"
_SOMEBODY: Final = "somebody"
_MANY: Final = {
    False: (_TOO_MANY, NOBODY, "many"),
    True: (_TOO_MANY, _SOMEBODY, "many"),
}
"""Where the rest are counted, by whether their tokens were proved."""
_PROTECTED: Final = "/api/"
_MAX_TEXT: Final = 300
_REASONS: Final = {401: "unauthenticated", 403: "forbidden", 429: "too_many_failures"}
_log = structlog.get_logger(__name__)
_Kind = tuple[str, str, str]
"""Reason, id of the access token that was proved or nobody, and whom the client's address counts for."""


@dataclass(slots=True)
class _Window:
    """What of one kind was not told yet, and when it is to be."""

    tell_at: float
    untold: AccessRefused | None


class Refusals:
    """Counts refusals and writes them to the outbox; `note` never waits and never fails."""

    def __init__(self, database: Database, ledger: Ledger, clock: Clock) -> None:
        self._database = database
        self._ledger = ledger
        self._clock = clock
        self._windows: dict[_Kind, _Window] = {}
        self._news = asyncio.Event()

    def note(self, kind: _Kind, method: str, path: str, claimed: str | None = None) -> None:
        """Take note of a refusal, and of the token id it claimed."""
        if kind not in self._windows and self._is_full(is_proved=kind[1] != NOBODY):
            kind, claimed = _MANY[kind[1] != NOBODY], None
        if kind not in self._windows:
            self._windows[kind] = _Window(self._clock.monotonic(), None)
            self._news.set()
        window = self._windows[kind]
        window.untold = _together(window.untold, _facts(kind, claimed, method, path, self._clock.now()))

    def _is_full(self, *, is_proved: bool) -> bool:
        return sum((each[1] != NOBODY) is is_proved for each in self._windows) >= MAX_KINDS

    async def run(self) -> None:
        """Record until cancelled, and then once more what is left."""
        try:
            while True:
                await self._wait_news()
                await self.record()
        finally:
            await self.record(is_last=True)

    async def record(self, *, is_last: bool = False) -> None:
        """Write down what is due; what the database does not take is kept for the next time."""
        now = self._clock.monotonic()
        for kind, window in tuple(self._windows.items()):
            if now < window.tell_at and not is_last:
                continue
            facts, window.untold = window.untold, None
            if facts is None:
                del self._windows[kind]
            elif not await self._tell(window, facts):
                return

    async def _tell(self, window: _Window, facts: AccessRefused) -> bool:
        try:
            async with self._database.write() as tx:
                await self._ledger.note(tx, facts.access_id or NOBODY, facts)
        except (DatabaseUnavailableError, ConflictError) as error:
            window.untold = _together(window.untold, facts)
            _log.warning("refusals_wait", reason=str(error), count=window.untold.count)
            return False
        window.tell_at = self._clock.monotonic() + WINDOW_SECONDS
        return True

    async def _wait_news(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_SECONDS):
                await self._news.wait()
        self._news.clear()


class RefusalWatch:
    """Sees what the application answers to requests below `/api/`, and has refusals noted."""

    def __init__(self, app: ASGIApp, refusals: Refusals) -> None:
        self._app = app
        self._refusals = refusals

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http" or not scope["path"].startswith(_PROTECTED):
            await self._app(scope, receive, send)
            return

        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] in _REASONS:
                claimed = _claimed(scope)
                kind = _kind(scope, message["status"], claimed)
                self._refusals.note(kind, scope["method"], scope["path"], claimed)
            await send(message)

        await self._app(scope, receive, watched)


def _claimed(scope: Scope) -> str | None:
    header = Headers(scope=scope).get("authorization", "")
    try:
        return access_id_of(Secret(header.rpartition(" ")[2].strip()))
    except InvalidTokenError:
        return None


def _kind(scope: Scope, status: int, claimed: str | None) -> _Kind:
    """Return the kind of a refusal: only who is forbidden something has proved his token before."""
    reason = _REASONS[status]
    if status == HTTPStatus.UNAUTHORIZED and Headers(scope=scope).get("authorization", ""):
        reason = "invalid_token"
    proved = claimed if status == HTTPStatus.FORBIDDEN else None
    return reason, proved or NOBODY, source_of((scope.get("client") or ("unknown", 0))[0])


def _facts(kind: _Kind, claimed: str | None, method: str, path: str, now: datetime) -> AccessRefused:
    reason, _, client = kind
    return AccessRefused(
        outcome="refused",
        reason=reason,
        access_id=claimed,
        client=client,
        http_method=method[:20],
        path=redact_text(path)[:_MAX_TEXT],
        count=1,
        first_at=now,
        last_at=now,
    )


def _together(one: AccessRefused | None, other: AccessRefused) -> AccessRefused:
    if one is None:
        return other
    latest = max(one, other, key=lambda each: each.last_at)
    first = min(one, other, key=lambda each: each.first_at)
    update = {
        "count": one.count + other.count,
        "first_at": first.first_at,
        "access_id": first.access_id,
    }
    return latest.model_copy(update=update)
