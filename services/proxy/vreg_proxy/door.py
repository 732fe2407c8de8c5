"""The listener's side of a worker process: how many may come in, and from when on they are sent elsewhere."""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from types import FrameType
from typing import Final

STATE_KEY = "door"
"""Where the protocol finds the door in the server's state."""

RESERVE: Final = 16
"""Connections beyond those that are served, for whoever asks whether this process lives or is ready."""


class Place(Enum):
    """What a connection may ask for."""

    ANYTHING = auto()
    HEALTH = auto()
    NOTHING = auto()


@dataclass(slots=True)
class Door:
    """What the protocol of every connection and the application share.

    Once it `is_closing`, the process is not ready and each answer ends its connection, but whoever still
    comes is served: balancers need a moment to hear of it.
    """

    max_connections: int
    is_closing: bool = False
    connections: int = 0
    turned_away: int = 0
    _inside: dict[Place, int] = field(default_factory=dict)
    _by_source: dict[tuple[Place, str], int] = field(default_factory=dict)

    def enter(self, source: str) -> Place:
        """Return the best place that is left. One address has at most half of each kind."""
        self.connections += 1
        for place, most in ((Place.ANYTHING, self.max_connections), (Place.HEALTH, RESERVE)):
            its_own = self._by_source.get((place, source), 0)
            if self._inside.get(place, 0) < most and its_own < (most + 1) // 2:
                self._inside[place] = self._inside.get(place, 0) + 1
                self._by_source[place, source] = its_own + 1
                return place
        return Place.NOTHING

    def leave(self, source: str, place: Place) -> None:
        """Give back what `enter` returned."""
        self.connections -= 1
        if place is Place.NOTHING:
            return
        self._inside[place] -= 1
        left = self._by_source.pop((place, source)) - 1
        if left:
            self._by_source[place, source] = left


@contextmanager
def closing_gently(door: Door, grace_seconds: float) -> Iterator[None]:
    """Answer the first SIGTERM by closing the door, and give it to the server after the grace.

    A second one goes to the server at once. Must run where signals arrive, in the main thread's loop.
    """
    loop = asyncio.get_running_loop()
    stop = signal.getsignal(signal.SIGTERM)

    def pass_on() -> None:
        if callable(stop):
            stop(signal.SIGTERM, None)

    def close() -> None:
        door.is_closing = True
        loop.call_later(grace_seconds, pass_on)

    def heard(_number: int, _frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(pass_on if door.is_closing else close)

    signal.signal(signal.SIGTERM, heard)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, stop)
