"""Asking everybody who listens, however many they are, and waiting until they have fallen silent."""

import asyncio
from contextlib import suppress
from typing import Final

import structlog

from vreg_shared.bus.errors import BusUnavailableError, NoResponderError
from vreg_shared.bus.respond import ERROR_HEADER
from vreg_shared.bus.session import Message, Session

MAX_ANSWERS: Final = 1024
_log = structlog.stdlib.get_logger()


async def gather_once(
    session: Session, subject: str, payload: bytes, *, deadline: float, quiet: float
) -> list[bytes]:
    """Return the answers that came; raise NoResponderError, or BusUnavailableError when there are none."""
    inbox, arrived = session.new_inbox(), asyncio.Queue[Message](MAX_ANSWERS)
    answers: list[bytes] = []

    def receive(message: Message) -> None:
        with suppress(asyncio.QueueFull):
            arrived.put_nowait(message)

    async with session.subscription(inbox, receive):
        await session.publish(subject, payload, reply=inbox)
        with suppress(TimeoutError):
            async with asyncio.timeout(deadline):
                while len(answers) < MAX_ANSWERS:
                    async with asyncio.timeout(quiet if answers else None):
                        _take(await arrived.get(), subject, answers)
    if not answers:
        raise BusUnavailableError(f"nobody answered on {subject} within {deadline:g} s")
    return answers


def _take(message: Message, subject: str, answers: list[bytes]) -> None:
    if message.status == "503":
        raise NoResponderError(f"nobody serves {subject} now")
    if ERROR_HEADER in message.headers:
        _log.warning("bus answer left out", bus_subject=subject, reason=message.headers[ERROR_HEADER])
    else:
        answers.append(message.payload)
