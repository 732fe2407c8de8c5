"""Answering requests: each in its own task, never more than `AT_ONCE`, none longer than its deadline."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from vreg_shared.bus.errors import BusError, RequestFailedError
from vreg_shared.bus.session import Message, Session
from vreg_shared.bus.tasks import owned_tasks
from vreg_shared.errors import VregError
from vreg_shared.topology import INBOX_ROOT

AT_ONCE: Final = 256
ERROR_HEADER: Final = "Vreg-Error"
END_HEADER: Final = "Vreg-End"
"""Ends a conversation: nothing comes after it."""
Handler = Callable[[bytes], Awaitable[bytes]]
Say = Callable[[bytes], Awaitable[None]]
Teller = Callable[[bytes, Say], Awaitable[None]]
"""Takes a question, and says as many answers as it likes."""
Reply = tuple[bytes, dict[str, str] | None]
_log = structlog.stdlib.get_logger()


async def respond_once(session: Session, subject: str, handler: Handler, queue: str, deadline: float) -> None:
    """Answer until the connection is lost; raise BusPermissionError if we may not listen."""

    async def answered(message: Message) -> Reply:
        return await handler(message.payload), None

    await _serve(session, subject, answered, queue, deadline)


async def tell_once(session: Session, subject: str, teller: Teller, queue: str, deadline: float) -> None:
    """Answer conversations until the connection is lost; raise BusPermissionError if we may not listen."""

    async def told(message: Message) -> Reply:
        async def say(payload: bytes) -> None:
            await session.publish(message.reply, payload)

        await teller(message.payload, say)
        return b"", {END_HEADER: "1"}

    await _serve(session, subject, told, queue, deadline)


async def _serve(
    session: Session, subject: str, work: Callable[[Message], Awaitable[Reply]], queue: str, deadline: float
) -> None:
    tasks: set[asyncio.Task[None]] = set()
    async with owned_tasks() as group:

        def receive(message: Message) -> None:
            if not message.reply.startswith(f"{INBOX_ROOT}."):
                # Whoever asks must not choose which of our own subjects the answer is written to.
                _log.warning("bus request ignored", bus_subject=subject, reason="reply is not an inbox")
                return
            doing = _busy() if len(tasks) >= AT_ONCE else work(message)
            task = group.create_task(_answer(session, message, doing, deadline))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        async with session.subscription(subject, receive, queue):
            await session.wait_lost()
        for task in tasks:
            task.cancel()


async def _answer(session: Session, message: Message, work: Awaitable[Reply], deadline: float) -> None:
    headers: dict[str, str] | None
    try:
        async with asyncio.timeout(deadline):
            payload, headers = await work
    except TimeoutError:
        payload, headers = b"", {ERROR_HEADER: f"no answer within {deadline:g} s"}
    except VregError as error:
        payload, headers = b"", {ERROR_HEADER: str(error)}
    except Exception:  # noqa: BLE001 - logged in full, and told to the asker as a failure
        # A bug in one answer must not end all others; its text may hold anything, so it stays here.
        _log.exception("bus request failed", bus_subject=message.subject)
        payload, headers = b"", {ERROR_HEADER: "internal error, see the log of the responder"}
    try:
        await session.publish(message.reply, payload, headers=headers)
    except BusError as error:
        _log.warning("bus answer lost", bus_subject=message.subject, error=str(error))


async def _busy() -> Reply:
    raise RequestFailedError(f"more than {AT_ONCE} requests at once: try again later")
