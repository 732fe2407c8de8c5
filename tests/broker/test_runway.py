"""An exchange starts in its broker's turn, with a place free, and never faster than its cloud counts."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from tests.broker.world import ManualWaits, settle
from tests.support.clock import ManualClock
from vreg_shared.pace import Pace
from vreg_token_broker.runway import Runway

QUOTA = Pace("aws/eu-west-1", 4)


class Turns:
    """A turn that a test gives and takes."""

    def __init__(self) -> None:
        self.given = asyncio.Event()
        self.given.set()

    async def wait_turn(self) -> None:
        await self.given.wait()


class Airfield:
    """A runway, a clock that a test moves, and when who started."""

    def __init__(self, at_once: int = 16) -> None:
        self.clock, self.turns = ManualClock(), Turns()
        self.waits = ManualWaits(self.clock)
        self.runway = Runway(self.turns, self.clock, self.waits, at_once)
        self.starts: list[tuple[str, float]] = []

    async def fly(self, pace: Pace | None, seconds: float) -> None:
        """Start when cleared, and take so long."""
        await self.runway.clear(pace)
        self.starts.append((pace.quota if pace is not None else "", self.clock.monotonic()))
        await self.waits.wait(asyncio.Event(), seconds)
        self.runway.leave()

    def moments(self, quota: str) -> list[float]:
        return [moment for name, moment in self.starts if name == quota]


flights = st.lists(st.tuples(st.just(0.0) | st.floats(0, 2), st.floats(0.01, 4)), max_size=40)


@given(flights)
def test_no_second_sees_more_starts_than_the_quota_however_long_exchanges_take(
    comings: list[tuple[float, float]],
) -> None:
    started = asyncio.run(flown(comings))
    assert len(started) == len(comings)
    for number, start in enumerate(started):
        within = [other for other in started[number:] if other < start + 1.0 - 1e-6]
        assert len(within) <= QUOTA.per_second


async def flown(comings: list[tuple[float, float]]) -> list[float]:
    """Return when those started that came after such pauses, and took so long."""
    field = Airfield(at_once=64)
    async with asyncio.TaskGroup() as group:
        for pause, seconds in comings:
            group.create_task(field.fly(QUOTA, seconds))
            await field.waits.advance(pause)
        await field.waits.advance(500.0)
    return field.moments(QUOTA.quota)


async def test_who_waits_for_a_quota_leaves_places_to_the_others() -> None:
    field, slow = Airfield(at_once=3), Pace("slow", 1)
    async with asyncio.TaskGroup() as group:
        for _ in range(5):
            group.create_task(field.fly(slow, 0.01))
        await settle()
        for _ in range(2):
            group.create_task(field.fly(None, 0.01))
        await field.waits.advance(0.5)
        assert [len(field.moments("slow")), len(field.moments(""))] == [1, 2]
        await field.waits.advance(5.0)
    assert len(field.moments("slow")) == 5


async def test_nothing_starts_out_of_turn() -> None:
    field = Airfield()
    field.turns.given.clear()
    async with asyncio.TaskGroup() as group:
        group.create_task(field.fly(QUOTA, 0.01))
        group.create_task(field.fly(None, 0.01))
        await field.waits.advance(60.0)
        assert field.starts == []
        field.turns.given.set()
        await field.waits.advance(1.0)
    assert len(field.starts) == 2
