"""Places at an upstream, given out in turn between the clients who wait, and to none of them all."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from vreg_proxy.limits import asking_client
from vreg_shared.provider import Answer, Verdict

TURN_SECONDS: Final = 60.0
"""Longer than any place is held by a client that moves on, shorter than clients wait for an answer."""
RETRY_AFTER_SECONDS: Final = 10.0
NO_TURN: Final = "upstream_busy"


class Turns:
    """At most `places` at once of each upstream, three quarters of them of one client.

    `on_hit` hears of everyone who waited in vain.
    """

    def __init__(self, places: int, on_hit: Callable[[], None]) -> None:
        self._places = places
        self._share = max(1, places * 3 // 4)
        self._on_hit = on_hit
        self._queues: dict[str, _Queue] = {}

    @asynccontextmanager
    async def turn(self, upstream_id: str) -> AsyncIterator[Verdict | None]:
        """Hold a place while the block runs; yield a verdict instead when none came free in time."""
        client = asking_client.get()
        queue = self._queues.setdefault(upstream_id, _Queue(self._places, self._share))
        try:
            async with asyncio.timeout(TURN_SECONDS):
                await queue.enter(client)
        except TimeoutError:
            self._on_hit()
            yield Verdict(Answer.UNAVAILABLE, NO_TURN, retry_after=RETRY_AFTER_SECONDS)
            return
        try:
            yield None
        finally:
            queue.leave(client)
            if queue.is_idle:
                self._queues.pop(upstream_id, None)


@dataclass(slots=True)
class _Queue:
    """One upstream's places. Clients who wait stand in a ring; whoever got a place goes to its end."""

    places: int
    share: int
    held: dict[str, int] = field(default_factory=dict)
    taken: int = 0
    waiting: OrderedDict[str, deque[asyncio.Future[None]]] = field(default_factory=OrderedDict)

    @property
    def is_idle(self) -> bool:
        return not self.taken and not self.waiting

    async def enter(self, client: str) -> None:
        if self._may_enter(client) and client not in self.waiting:
            self._take(client)
            return
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting.setdefault(client, deque()).append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self.leave(client)
            else:
                self._forget(client, place)
            raise

    def leave(self, client: str) -> None:
        self.taken -= 1
        self.held[client] -= 1
        if not self.held[client]:
            del self.held[client]
        self._call_next()

    def _may_enter(self, client: str) -> bool:
        return self.taken < self.places and self.held.get(client, 0) < self.share

    def _take(self, client: str) -> None:
        self.taken += 1
        self.held[client] = self.held.get(client, 0) + 1

    def _call_next(self) -> None:
        client = next((each for each in self.waiting if self._may_enter(each)), None)
        if client is None:
            return
        place = self.waiting[client].popleft()
        self.waiting.move_to_end(client)
        self._drop_if_empty(client)
        self._take(client)
        place.set_result(None)

    def _forget(self, client: str, place: asyncio.Future[None]) -> None:
        self.waiting[client].remove(place)
        self._drop_if_empty(client)

    def _drop_if_empty(self, client: str) -> None:
        if not self.waiting[client]:
            del self.waiting[client]
