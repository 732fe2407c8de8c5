"""When an exchange may start: in this broker's turn, with a place free, no faster than its cloud counts."""

import asyncio
from collections import defaultdict
from typing import Final, Protocol

from vreg_shared.clock import Clock
from vreg_shared.pace import Pace, Paces
from vreg_token_broker.waits import Waits

AT_ONCE: Final = 16


class Turns(Protocol):
    """Whose turn it is, of several brokers."""

    async def wait_turn(self) -> None:
        """Return once an exchange of this broker may be made."""
        ...


class Runway:
    """Has `at_once` places, all quotas together."""

    def __init__(self, turns: Turns, clock: Clock, waits: Waits, at_once: int = AT_ONCE) -> None:
        self._turns = turns
        self._clock = clock
        self._waits = waits
        self._places = asyncio.Semaphore(at_once)
        self._paces = Paces()
        self._lanes: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def clear(self, pace: Pace | None) -> None:
        """Return when a start may be made now; it takes a place until `leave`."""
        if pace is None:
            await self._places.acquire()
            await self._turns.wait_turn()
            return
        # One of each quota at a time: who waits for its pace keeps no more than one place from the others.
        async with self._lanes[pace.quota]:
            await self._places.acquire()
            delay = self._paces.delay(pace, self._clock.monotonic())
            if delay > 0:
                await self._waits.wait(asyncio.Event(), delay)
            await self._turns.wait_turn()
            self._paces.started(pace, self._clock.monotonic())

    def leave(self) -> None:
        """Give a place back."""
        self._places.release()
