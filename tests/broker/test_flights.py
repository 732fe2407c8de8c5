"""An exchange is on record before it starts and before anything follows, whatever happens in between."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.broker.world import (
    ACCESS_KEY,
    HOST,
    AlwaysLeads,
    FakeExchange,
    FakeLedger,
    ManualWaits,
    identity,
    settle,
)
from tests.support.clock import ManualClock
from tests.support.wait import eventually
from vreg_shared.catalogue import catalogue
from vreg_shared.sealing import SealingKey
from vreg_token_broker.exchange import ExchangeOrder, Issued, Unavailable
from vreg_token_broker.flights import Flight, Flights
from vreg_token_broker.lease_book import Plan
from vreg_token_broker.runway import Runway


class FlightWorld:
    def __init__(self, group: asyncio.TaskGroup, *, at_once: int, deadline: float) -> None:
        self.clock = clock = ManualClock()
        self.waits = ManualWaits(clock)
        self.ledger = FakeLedger()
        self.exchange = FakeExchange(clock)
        runway = Runway(AlwaysLeads(), clock, self.waits, at_once)
        self.flights = Flights(self.ledger, clock, group, runway, deadline=deadline)
        kind = catalogue().kind("ecr")
        plan = Plan("idn1/aws/eu-west-1", identity(SealingKey.generate()), kind, (HOST,))
        order = ExchangeOrder("idn1", "external", ACCESS_KEY, kind, HOST)
        self.flight = Flight(plan, "aws", self.exchange, order, "first")


@asynccontextmanager
async def flying(*, at_once: int = 16, deadline: float = 60.0) -> AsyncIterator[FlightWorld]:
    async with asyncio.TaskGroup() as group:
        yield FlightWorld(group, at_once=at_once, deadline=deadline)


async def test_what_comes_after_the_deadline_is_recorded_and_not_used() -> None:
    async with flying(deadline=0.01) as world:
        world.exchange.gate.clear()
        outcome = await world.flights.start(world.flight)
        assert isinstance(outcome, Unavailable)
        assert outcome.reason == "timeout"
        assert world.ledger.kinds() == ["exchange.intent", "exchange.outcome"]
        world.exchange.gate.set()
        await eventually(lambda: len(world.ledger.events) == 3)
    (_, _, intent), (_, _, timeout), (kind, _, late) = world.ledger.events
    assert (kind, late["outcome"]) == ("exchange.late_outcome", "issued")
    assert intent["exchange_id"] == timeout["exchange_id"] == late["exchange_id"]


async def test_an_exchange_whose_caller_went_away_is_still_recorded() -> None:
    async with flying() as world:
        world.exchange.gate.clear()
        world.flights.start(world.flight)
        await settle()
        world.exchange.gate.set()
    assert world.ledger.kinds() == ["exchange.intent", "exchange.outcome"]


async def test_an_outcome_that_cannot_be_written_down_is_not_told_before_it_can(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("vreg_token_broker.flights.RECORD_RETRY_SECONDS", 0.001)
    async with flying() as world:
        world.exchange.gate.clear()
        told = world.flights.start(world.flight)
        await settle()
        world.ledger.is_full = True
        world.exchange.gate.set()
        await settle()
        assert not told.done()
        world.ledger.is_full = False
        assert isinstance(await told, Issued)
    assert len(world.exchange.orders) == 1


async def test_no_more_exchanges_run_at_once_than_permitted() -> None:
    async with flying(at_once=3) as world:
        world.exchange.gate.clear()
        told = [world.flights.start(world.flight) for _ in range(10)]
        await settle()
        assert len(world.exchange.orders) == 3
        assert world.ledger.kinds() == ["exchange.intent"] * 3
        world.exchange.gate.set()
        await asyncio.gather(*told)
    assert len(world.exchange.orders) == 10


async def test_an_exchange_past_its_deadline_keeps_its_place_until_its_thread_is_free() -> None:
    async with flying(at_once=1, deadline=0.01) as world:
        world.exchange.gate.clear()
        await world.flights.start(world.flight)
        following = world.flights.start(world.flight)
        await settle()
        assert len(world.exchange.orders) == 1
        world.exchange.gate.set()
        assert isinstance(await following, Issued)


async def test_finishing_waits_no_longer_than_its_grace() -> None:
    async with flying() as world:
        world.exchange.gate.clear()
        told = world.flights.start(world.flight)
        await settle()
        await world.flights.finish(grace=0.01)
        with pytest.raises(asyncio.CancelledError):
            await told
    assert world.ledger.kinds() == ["exchange.intent"]


async def test_finishing_begins_nothing_that_still_waits_for_a_place() -> None:
    async with flying(at_once=1) as world:
        world.exchange.gate.clear()
        told = [world.flights.start(world.flight) for _ in range(3)]
        await settle()
        finishing = asyncio.create_task(world.flights.finish(grace=5.0))
        await settle()
        world.exchange.gate.set()
        await finishing
        assert [task.cancelled() for task in told] == [False, True, True]
    assert world.ledger.kinds() == ["exchange.intent", "exchange.outcome"]
