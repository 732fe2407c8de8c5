"""Looks at everything known of each upstream, and tells when what it comes to has changed."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, Final, Protocol

import structlog

from vreg_shared.clock import Clock
from vreg_shared.messages.audit_facts import HealthChanged
from vreg_shared.messages.connection_test import StageReport
from vreg_shared.messages.health import HealthRecord, HealthState
from vreg_shared.messages.upstream import UpstreamRecord
from vreg_token_broker.health.leases import LeaseStatus
from vreg_token_broker.health.probing import first_look, next_look
from vreg_token_broker.health.signs import Signs
from vreg_token_broker.health.state import finding
from vreg_token_broker.journal import AuditUnavailableError

LOOK_SECONDS: Final = 1.0
REPEAT: Final = timedelta(minutes=5)
"""A record that has not changed is told again after this, with the times it holds."""
PROBES_AT_ONCE: Final = 8
_log = structlog.get_logger(__name__)


class Leases(Protocol):
    """Who keeps leases."""

    def status(self, upstream: UpstreamRecord) -> LeaseStatus | None:
        """Return how an upstream's lease stands; None for one without identity."""
        ...


class Upstreams(Protocol):
    """Who knows the upstreams."""

    def upstreams(self) -> Mapping[str, UpstreamRecord]:
        """Return them by id."""
        ...


class Tells(Protocol):
    """Where health is told."""

    def publish(self, record: HealthRecord) -> None:
        """Have a record published."""
        ...

    def withdraw(self, upstream_id: str) -> None:
        """Have a deleted upstream's record taken back."""
        ...


class Probes(Protocol):
    """Who can be asked to look."""

    async def probe(self, upstream_id: str) -> tuple[StageReport, ...] | None:
        """Return what a proxy saw; None when none could look."""
        ...


class Records(Protocol):
    """The part of the ledger that is needed."""

    async def record(self, kind: str, subject: str, facts: dict[str, Any]) -> None:
        """Return once the event is on disk; raise AuditUnavailableError."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthWorld:
    """What the watch works with. `interval` is between probes of a healthy upstream; 0 means none."""

    upstreams: Upstreams
    leases: Leases
    signs: Signs
    tells: Tells
    probes: Probes
    ledger: Records
    clock: Clock
    interval: timedelta


class HealthWatch:
    """Runs while its broker leads. Whatever fails here keeps nobody from serving."""

    def __init__(self, world: HealthWorld) -> None:
        self._world = world
        self._told: dict[str, HealthRecord] = {}
        self._told_at: dict[str, float] = {}
        self._known: dict[str, UpstreamRecord] = {}
        self._due: dict[str, float] = {}
        self._probing: dict[str, asyncio.Task[None]] = {}

    def remember(self, record: HealthRecord) -> None:
        """Take note of what was told before, by whichever broker."""
        known = self._told.get(record.upstream_id)
        if known is None:
            self._told[record.upstream_id] = record
            self._world.signs.remember(record)

    async def run(self, ended: asyncio.Event) -> None:
        """Look every second until told to end."""
        async with asyncio.TaskGroup() as group:
            while not ended.is_set():
                await self.look(group)
                try:
                    async with asyncio.timeout(LOOK_SECONDS):
                        await ended.wait()
                except TimeoutError:
                    continue
            for task in tuple(self._probing.values()):
                task.cancel()

    async def look(self, group: asyncio.TaskGroup) -> None:
        """Judge every upstream once, tell what changed, and begin the probes that are due."""
        upstreams = self._world.upstreams.upstreams()
        for upstream_id in [known for known in self._known if known not in upstreams]:
            self._drop(upstream_id)
        for upstream in upstreams.values():
            self._notice_change(upstream)
            await self._judge(upstream)
        self._begin_probes(group, upstreams.values())

    def _notice_change(self, upstream: UpstreamRecord) -> None:
        """Look at a new or changed upstream soon, without what was known of another configuration."""
        before = self._known.get(upstream.id)
        if before == upstream:
            return
        now = self._world.clock.monotonic()
        if before is None:
            self._due[upstream.id] = now + first_look(upstream.id, self._world.interval).total_seconds()
        else:
            self._world.signs.forget(upstream.id)
            self._due[upstream.id] = now
        self._known[upstream.id] = upstream

    def _drop(self, upstream_id: str) -> None:
        for known in (self._known, self._due, self._told, self._told_at):
            known.pop(upstream_id, None)
        self._world.signs.forget(upstream_id)
        self._world.tells.withdraw(upstream_id)

    async def _judge(self, upstream: UpstreamRecord) -> None:
        contact = self._world.signs.contact(upstream.id)
        status = self._world.leases.status(upstream)
        found = finding(contact, status.token if status is not None else None, is_enabled=upstream.enabled)
        now, before = self._world.clock.now(), self._told.get(upstream.id)
        is_same = before is not None and (before.state, before.reason) == (found.state, found.reason)
        record = HealthRecord(
            upstream_id=upstream.id,
            state=found.state,
            since=before.since if before is not None and is_same else now,
            reason=found.reason,
            detail=found.detail,
            remedy=found.remedy,
            checked_at=contact.checked_at,
            ok_at=contact.ok_at,
            failures=contact.failures,
            breaks_at=found.breaks_at,
            token=status.life if status is not None else None,
        )
        if not is_same:
            await self._changed(upstream, before, record)
        if not is_same or self._is_worth_telling(before, record):
            self._tell(record)

    def _is_worth_telling(self, before: HealthRecord | None, record: HealthRecord) -> bool:
        if before is None or _lasting(before) != _lasting(record):
            return True
        told_at = self._told_at.get(record.upstream_id, float("-inf"))
        return self._world.clock.monotonic() - told_at >= REPEAT.total_seconds()

    def _tell(self, record: HealthRecord) -> None:
        self._told[record.upstream_id] = record
        self._told_at[record.upstream_id] = self._world.clock.monotonic()
        self._world.tells.publish(record)

    async def _changed(
        self, upstream: UpstreamRecord, before: HealthRecord | None, record: HealthRecord
    ) -> None:
        """Have it on record. The journal's failure is told by the journal; health goes on."""
        facts = HealthChanged(
            upstream_id=upstream.id,
            upstream_name=upstream.name,
            identity_id=upstream.identity_id,
            host=upstream.host,
            state=record.state.value,
            was=before.state.value if before is not None else HealthState.UNKNOWN.value,
            reason=record.reason,
            detail=record.detail,
            remedy=record.remedy,
            breaks_at=record.breaks_at,
        )
        log = _log.info if record.state in {HealthState.HEALTHY, HealthState.UNKNOWN} else _log.warning
        log("health_changed", upstream=upstream.name, state=facts.state, was=facts.was, reason=facts.reason)
        if before is None and record.state is HealthState.UNKNOWN:
            return  # nobody has looked yet: that is no change
        try:
            await self._world.ledger.record(HealthChanged.kind, upstream.id, facts.told())
        except AuditUnavailableError:
            return

    def _begin_probes(self, group: asyncio.TaskGroup, upstreams: Iterable[UpstreamRecord]) -> None:
        if not self._world.interval:
            return
        now = self._world.clock.monotonic()
        for upstream in upstreams:
            if len(self._probing) >= PROBES_AT_ONCE:
                return
            if upstream.enabled and upstream.id not in self._probing and self._due[upstream.id] <= now:
                task = group.create_task(self._probe(upstream.id))
                self._probing[upstream.id] = task
                task.add_done_callback(partial(self._probed, upstream.id))

    def _probed(self, upstream_id: str, _task: asyncio.Task[None]) -> None:
        self._probing.pop(upstream_id, None)

    async def _probe(self, upstream_id: str) -> None:
        reports = await self._world.probes.probe(upstream_id)
        signs, clock = self._world.signs, self._world.clock
        if reports is not None:
            signs.probed(upstream_id, reports, clock.now())
        if upstream_id in self._known:
            wait = next_look(upstream_id, signs.contact(upstream_id), self._world.interval)
            self._due[upstream_id] = clock.monotonic() + wait.total_seconds()


def _lasting(record: HealthRecord) -> tuple[object, ...]:
    """Return what of a record changes only when something happens; predictions move by themselves."""
    token = record.token
    if token is None:
        return (None, record.breaks_at)
    return (token.issued_at, token.refresh_at, token.not_after, token.failures, record.breaks_at)
