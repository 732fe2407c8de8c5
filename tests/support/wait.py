"""Waiting in tests: ask again until it is so, never sleep and hope."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable


async def eventually(predicate: Callable[[], object | Awaitable[object]], deadline: float = 30.0) -> None:
    """Return once `predicate` (plain or async) is truthy; fail after `deadline` seconds."""
    try:
        async with asyncio.timeout(deadline):
            while True:
                answer = predicate()
                if inspect.isawaitable(answer):
                    answer = await answer
                if answer:
                    return
                await asyncio.sleep(0.01)
    except TimeoutError:
        name = getattr(predicate, "__name__", repr(predicate))
        raise AssertionError(f"{name} did not come true within {deadline} s") from None
