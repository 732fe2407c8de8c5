"""The watch over health: what it tells, when, and what it has on record."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from tests.support.clock import ManualClock
from vreg_shared.messages.connection_test import Stage, StageReport
from vreg_shared.messages.health import HealthRecord, HealthState, Observation, TokenLife
from vreg_shared.messages.upstream import UpstreamRecord
from vreg_shared.provider import Answer
from vreg_token_broker.exchange import Refused
from vreg_token_broker.health.leases import LeaseStatus
from vreg_token_broker.health.signs import Signs
from vreg_token_broker.health.state import Token
from vreg_token_broker.health.watch import HealthWatch, HealthWorld
from vreg_token_broker.journal import AuditUnavailableError

OK = (StageReport(stage=Stage.REGISTRY, outcome="passed"),)
DOWN = (StageReport(stage=Stage.REGISTRY, outcome="failed", reason="timeout", answer="unavailable"),)
UPSTREAM = UpstreamRecord(id="u1", name="prod", kind="oci", host="registry.example.com")


@dataclass
class World:
    """Everything around the watch."""

    clock: ManualClock = field(default_factory=ManualClock)
    known: dict[str, UpstreamRecord] = field(default_factory=lambda: {UPSTREAM.id: UPSTREAM})
    statuses: dict[str, LeaseStatus] = field(default_factory=dict)
    saw: tuple[StageReport, ...] | None = OK
    told: list[HealthRecord] = field(default_factory=list)
    withdrawn: list[str] = field(default_factory=list)
    recorded: list[dict[str, Any]] = field(default_factory=list)
    probed: int = 0
    is_journal_full: bool = False
    signs: Signs = field(default_factory=Signs)

    def upstreams(self) -> Mapping[str, UpstreamRecord]:
        return dict(self.known)

    def status(self, upstream: UpstreamRecord) -> LeaseStatus | None:
        return self.statuses.get(upstream.id)

    def publish(self, record: HealthRecord) -> None:
        self.told.append(record)

    def withdraw(self, upstream_id: str) -> None:
        self.withdrawn.append(upstream_id)

    async def probe(self, upstream_id: str) -> tuple[StageReport, ...] | None:
        assert upstream_id in self.known
        self.probed += 1
        return self.saw

    async def record(self, kind: str, subject: str, facts: dict[str, Any]) -> None:
        assert (kind, subject) == ("health.changed", facts["upstream_id"])
        if self.is_journal_full:
            raise AuditUnavailableError("the disk is full")
        self.recorded.append(facts)

    @property
    def state(self) -> HealthState:
        return self.told[-1].state


@dataclass
class Looking:
    """A watch that looks when it is told to, and lets its probes end."""

    world: World
    watch: HealthWatch
    group: asyncio.TaskGroup

    async def look(self, seconds: float = 0.0, times: int = 1) -> None:
        for _ in range(times):
            self.world.clock.advance(seconds)
            await self.watch.look(self.group)
            for _ in range(5):
                await asyncio.sleep(0)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
async def looking(world: World) -> AsyncIterator[Looking]:
    watch = HealthWatch(
        HealthWorld(
            upstreams=world,
            leases=world,
            signs=world.signs,
            tells=world,
            probes=world,
            ledger=world,
            clock=world.clock,
            interval=timedelta(seconds=300),
        )
    )
    async with asyncio.TaskGroup() as group:
        yield Looking(world, watch, group)


async def test_an_upstream_is_unknown_until_somebody_looked_and_then_looked_at_regularly(
    world: World, looking: Looking
) -> None:
    await looking.look()
    assert world.state is HealthState.UNKNOWN
    await looking.look(61, times=2)
    assert (world.state, world.probed) == (HealthState.HEALTHY, 1)
    await looking.look(100)
    assert world.probed == 1
    await looking.look(361)
    assert world.probed == 2


async def test_an_outage_is_told_after_some_looks_and_its_end_too(world: World, looking: Looking) -> None:
    await looking.look()
    await looking.look(61, times=2)
    world.saw = DOWN
    await looking.look(361)
    assert world.state is HealthState.HEALTHY
    await looking.look(19, times=4)
    assert (world.state, world.told[-1].reason) == (HealthState.UNREACHABLE, "timeout")
    assert world.told[-1].remedy
    world.saw = OK
    await looking.look(19, times=4)
    assert world.state is HealthState.HEALTHY
    assert [facts["state"] for facts in world.recorded] == ["healthy", "unreachable", "healthy"]


async def test_a_refused_exchange_is_told_at_the_next_look(world: World, looking: Looking) -> None:
    world.statuses["u1"] = LeaseStatus(Token(is_usable=True), TokenLife())
    await looking.look()
    assert world.state is HealthState.HEALTHY
    refused = Refused("permission_denied", "AccessDenied", "Correct the trust policy.")
    world.statuses["u1"] = LeaseStatus(Token(is_usable=True, failure=refused), TokenLife(failures=1))
    await looking.look(1)
    assert (world.state, world.told[-1].remedy) == (HealthState.AUTH_FAILED, "Correct the trust policy.")
    assert world.recorded[-1]["was"] == "healthy"


async def test_what_pulls_meet_counts_without_a_look(world: World, looking: Looking) -> None:
    await looking.look()
    failed = Observation(upstream_id="u1", failures=3, answer=Answer.UNAVAILABLE, reason="connection_refused")
    world.signs.observed(failed, world.clock.now())
    await looking.look(1)
    assert (world.state, world.told[-1].reason) == (HealthState.UNREACHABLE, "connection_refused")
    world.signs.observed(Observation(upstream_id="u1", successes=5), world.clock.now())
    await looking.look(1)
    assert world.state is HealthState.HEALTHY


async def test_what_clients_only_guess_at_is_no_sign(world: World, looking: Looking) -> None:
    hidden = Observation(upstream_id="u1", failures=9, answer=Answer.HIDDEN, reason="permission_denied")
    world.signs.observed(hidden, world.clock.now())
    await looking.look()
    assert world.state is HealthState.UNKNOWN


async def test_a_look_that_no_proxy_could_take_says_nothing(world: World, looking: Looking) -> None:
    world.saw = None
    await looking.look()
    await looking.look(61, times=5)
    assert world.probed >= 1
    assert world.state is HealthState.UNKNOWN


async def test_what_has_not_changed_is_not_told_again_at_once(world: World, looking: Looking) -> None:
    world.statuses["u1"] = LeaseStatus(Token(is_usable=True), TokenLife())
    await looking.look()
    await looking.look(1, times=20)
    assert len(world.told) == 1
    await looking.look(301)
    assert len(world.told) == 2
    assert world.told[0].since == world.told[1].since


async def test_a_changed_upstream_is_looked_at_anew(world: World, looking: Looking) -> None:
    world.saw = DOWN
    await looking.look()
    await looking.look(61, times=4)
    assert world.state is HealthState.UNREACHABLE
    world.saw = OK
    world.known["u1"] = UPSTREAM.model_copy(update={"host": "other.example.com"})
    await looking.look()
    await looking.look(1)
    assert world.state is HealthState.HEALTHY


async def test_a_deleted_upstream_is_taken_back(world: World, looking: Looking) -> None:
    await looking.look()
    world.known.clear()
    await looking.look()
    assert world.withdrawn == ["u1"]


async def test_another_broker_goes_on_where_the_last_one_was(world: World, looking: Looking) -> None:
    since = world.clock.now() - timedelta(hours=1)
    record = HealthRecord(
        upstream_id="u1", state=HealthState.UNREACHABLE, since=since, reason="timeout", failures=7
    )
    looking.watch.remember(record)
    await looking.look()
    assert (world.state, world.told[-1].since) == (HealthState.UNREACHABLE, since)
    assert world.recorded == []


async def test_a_full_journal_keeps_nobody_from_hearing(world: World, looking: Looking) -> None:
    world.is_journal_full = True
    world.statuses["u1"] = LeaseStatus(Token(failure=Refused("permission_denied")), TokenLife())
    await looking.look()
    assert world.state is HealthState.AUTH_FAILED
