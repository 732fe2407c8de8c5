"""One exchange, from durable intent to durable outcome: whoever loses interest in between, it is audited."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

import structlog
from ulid import ULID

from vreg_shared.clock import Clock
from vreg_shared.messages.audit_facts import ExchangeIntent, ExchangeOutcome, ExchangeRefused
from vreg_shared.pace import Pace
from vreg_shared.secret import Secret
from vreg_token_broker.exchange import Exchange, ExchangeOrder, Issued, Outcome, Refused, Unavailable
from vreg_token_broker.journal import AuditUnavailableError
from vreg_token_broker.lease_book import Plan
from vreg_token_broker.ledger import INTENT, LATE_OUTCOME, OUTCOME, REFUSED

EXCHANGE_SECONDS: Final = 30.0
"""Longer than every deadline an exchange sets for itself, so it is met only by what those did not foresee."""
RECORD_RETRY_SECONDS: Final = 1.0
_T = TypeVar("_T")
_log = structlog.get_logger(__name__)


class Records(Protocol):
    """The part of the ledger that is needed."""

    async def record(self, kind: str, subject: str, facts: dict[str, Any]) -> None:
        """Return once the event is on disk; raise AuditUnavailableError."""
        ...

    def fingerprint(self, credential: Secret) -> str:
        """Tell equal credentials from different ones."""
        ...


class Clears(Protocol):
    """When exchanges may start."""

    async def clear(self, pace: Pace | None) -> None:
        """Return when a start may be made now; it takes a place until `leave`."""
        ...

    def leave(self) -> None:
        """Give a place back."""
        ...


@dataclass(frozen=True, slots=True)
class Flight:
    """What is known of an exchange before it starts; `trigger` says what it was made for."""

    plan: Plan
    provider: str
    exchange: Exchange
    order: ExchangeOrder
    trigger: str

    def pace(self) -> Pace | None:
        """How fast the cloud lets such exchanges be started."""
        return self.order.kind.pace(self.order.host)


class Flights:
    """Makes exchanges as the runway clears them. `group` owns what outlives a caller."""

    def __init__(
        self,
        ledger: Records,
        clock: Clock,
        group: asyncio.TaskGroup,
        runway: Clears,
        *,
        deadline: float = EXCHANGE_SECONDS,
    ) -> None:
        self._ledger = ledger
        self._clock = clock
        self._group = group
        self._runway = runway
        self._deadline = deadline
        self._waiting: set[asyncio.Task[None]] = set()
        self._under_way: set[asyncio.Task[Any]] = set()

    def start(self, flight: Flight) -> asyncio.Task[Outcome]:
        """Begin an exchange. Its task ends by an outcome that is on record, and goes on if nobody waits."""
        return self._own(self._fly(flight))

    def refuse(self, plan: Plan, refused: Refused, trigger: str) -> asyncio.Task[Outcome]:
        """Have it on record that no exchange was made, and why."""
        return self._own(self._refuse(plan, refused, trigger))

    async def finish(self, grace: float) -> None:
        """Begin nothing more; let what is under way end by itself for `grace` seconds, then cancel it."""
        for clearing in self._waiting:
            clearing.cancel()
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=grace)
        for task in tuple(self._under_way):
            task.cancel()

    def _own(self, work: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
        task = self._group.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return task

    async def _refuse(self, plan: Plan, refused: Refused, trigger: str) -> Outcome:
        facts = _facts(plan, trigger) | {
            "outcome": "refused",
            "reason": refused.reason,
            "detail": refused.detail,
            "remedy": refused.remedy,
        }
        with suppress(AuditUnavailableError):  # logged; nothing was asked of anybody
            await self._ledger.record(REFUSED, plan.identity.id, ExchangeRefused(**facts).told())
        return refused

    async def _cleared(self, flight: Flight) -> None:
        """Return when it may start; raise CancelledError when nothing is begun any more."""
        clearing = self._group.create_task(self._runway.clear(flight.pace()))
        self._waiting.add(clearing)
        clearing.add_done_callback(self._waiting.discard)
        await clearing

    async def _fly(self, flight: Flight) -> Outcome:
        await self._cleared(flight)
        began = self._clock.monotonic()
        known = _facts(flight.plan, flight.trigger)
        facts = ExchangeIntent(**known, provider=flight.provider, exchange_id=str(ULID())).told()
        try:
            await self._ledger.record(INTENT, flight.plan.identity.id, facts)
        except AuditUnavailableError as error:
            self._runway.leave()
            return Unavailable("audit_unavailable", str(error))
        work = self._own(_guarded(flight))
        work.add_done_callback(lambda _: self._runway.leave())
        done, _ = await asyncio.wait({work}, timeout=self._deadline)
        if done:
            outcome = work.result()
        else:
            outcome = Unavailable("timeout", f"no outcome within {self._deadline:g} s")
            self._own(self._record_late(flight, facts, work, began))
        await self._record(OUTCOME, flight, facts, outcome, began)
        return outcome

    async def _record_late(
        self, flight: Flight, facts: dict[str, Any], work: asyncio.Task[Outcome], began: float
    ) -> None:
        """Have on record what a thread, which nothing stops, brought after the deadline: nobody uses it."""
        await self._record(LATE_OUTCOME, flight, facts, await work, began)

    async def _record(
        self, kind: str, flight: Flight, facts: dict[str, Any], outcome: Outcome, began: float
    ) -> None:
        """Write down what came of it, however long the disk is full: nothing follows from it before."""
        told = self._told(outcome) | {"latency_ms": round((self._clock.monotonic() - began) * 1000)}
        facts = ExchangeOutcome(**facts, **told).told()
        log = _log.info if isinstance(outcome, Issued) else _log.warning
        log("exchanged", kind=kind, scope=flight.plan.scope, identity=flight.plan.identity.name, **told)
        while True:
            try:
                await self._ledger.record(kind, flight.plan.identity.id, facts)
            except AuditUnavailableError:
                await asyncio.sleep(RECORD_RETRY_SECONDS)
            else:
                return

    def _told(self, outcome: Outcome) -> dict[str, Any]:
        shared = {"provider_request_ids": list(outcome.request_ids)}
        if isinstance(outcome, Issued):
            return shared | {
                "outcome": "issued",
                "principal": outcome.principal,
                "issued_at": outcome.issued_at.isoformat(),
                "not_after": outcome.not_after.isoformat() if outcome.not_after is not None else None,
                "token_fingerprint": self._ledger.fingerprint(outcome.credential.secret),
            }
        told = shared | {"reason": outcome.reason, "detail": outcome.detail}
        if isinstance(outcome, Refused):
            return told | {"outcome": "refused", "remedy": outcome.remedy}
        return told | {"outcome": "unavailable", "retry_after": outcome.retry_after}


async def _guarded(flight: Flight) -> Outcome:
    try:
        return await flight.exchange.lease_for(flight.order)
    except Exception as error:  # noqa: BLE001 - a bug in one cloud's exchange must not end all the others'
        # Only its class: the text may hold anything, and frames hold the opened secret.
        _log.error("exchange_failed", scope=flight.plan.scope, error=type(error).__name__)
        return Unavailable("internal_error", type(error).__name__)


def _facts(plan: Plan, trigger: str) -> dict[str, Any]:
    return {
        "scope": plan.scope,
        "hosts": list(plan.hosts),
        "repositories": list(plan.repositories),
        "identity_id": plan.identity.id,
        "identity_name": plan.identity.name,
        "method": plan.identity.method,
        "credential_version": plan.identity.credential_version,
        "trigger": trigger,
    }
