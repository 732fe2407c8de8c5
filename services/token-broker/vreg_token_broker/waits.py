"""Waiting for an event or for time, whichever comes first; tests bring a time of their own."""

import asyncio
from contextlib import suppress
from typing import Protocol


class Waits(Protocol):
    """Time, as far as it is waited for."""

    async def wait(self, event: asyncio.Event, seconds: float | None) -> None:
        """Return when the event is set or the seconds have passed; None waits for the event alone."""
        ...


class EventWaits:
    """Waiting as the event loop does it."""

    async def wait(self, event: asyncio.Event, seconds: float | None) -> None:
        """Return when the event is set or the seconds have passed."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await event.wait()
