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
    await finished(future)
    return future.result()


async def finished(future: asyncio.Future[_Result]) -> None:
    """Wait for a thread's work and its callbacks, however often we are cancelled; then be cancelled."""
    cancelled: asyncio.CancelledError | None = None
    while True:
        try:
            await asyncio.wait([future])
            break
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        future.exception()  # nobody is left to hear of it
        raise cancelled
