"""The listener's side of a worker process: how many may come in, and from when on they are sent elsewhere."""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

STATE_KEY = "door"
"""Where the protocol finds the door in the server's state."""


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

    @property
    def is_full(self) -> bool:
        """Whether there are more connections than this process will serve."""
        return self.connections > self.max_connections


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
