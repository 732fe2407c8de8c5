"""Blocking work off the event loop, which a cancelled caller still waits for."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import ParamSpec, TypeVar

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


async def in_thread(
    executor: Executor,
    call: Callable[_Arguments, _Result],
    *arguments: _Arguments.args,
    **named: _Arguments.kwargs,
) -> _Result:
    """Run `call` in a thread. A thread cannot be cancelled, so its files must stay open until it is done."""
    future = asyncio.get_running_loop().run_in_executor(executor, lambda: call(*arguments, **named))
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await asyncio.wait([future])
        if not future.cancelled():
            future.exception()  # nobody is left to hear of it
        raise
