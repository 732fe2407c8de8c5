"""Many callers, one piece of work: whoever comes first does it, the others receive its outcome."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class SingleFlight(Generic[Key, Value]):
    """Shares results and errors by key.

    A cancelled leader is succeeded by a follower, so there is no task to own.
    """

    def __init__(self) -> None:
        self._running: dict[Key, asyncio.Future[Value]] = {}

    async def run(self, key: Key, work: Callable[[], Awaitable[Value]]) -> Value:
        """Return what `work` returns, running it only if no other caller does so for `key`."""
        while (running := self._running.get(key)) is not None:
            await asyncio.wait([running])
            if not running.cancelled():
                return running.result()
        return await self._lead(key, work)

    async def _lead(self, key: Key, work: Callable[[], Awaitable[Value]]) -> Value:
        outcome: asyncio.Future[Value] = asyncio.get_running_loop().create_future()
        self._running[key] = outcome
        try:
            value = await work()
        except asyncio.CancelledError:
            outcome.cancel()
            raise
        except BaseException as error:
            outcome.set_exception(error)
            outcome.exception()  # followers may be none: then it is not "never retrieved"
            raise
        finally:
            del self._running[key]
        outcome.set_result(value)
        return value
