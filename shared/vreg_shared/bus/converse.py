"""Conversations: one question, and any number of answers from the one who took it, until he says so."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Final

from vreg_shared.bus.errors import BusUnavailableError, NoResponderError, RequestFailedError
from vreg_shared.bus.respond import END_HEADER, ERROR_HEADER
from vreg_shared.bus.session import Message, Session

_WAITING: Final = 256


async def converse_once(
    session: Session, subject: str, payload: bytes, *, deadline: float
) -> AsyncGenerator[bytes, None]:
    """Give each answer as it comes; close the generator to hear no more.

    Raises NoResponderError, RequestFailedError, and BusUnavailableError when it is not over by the deadline.
    """
    inbox, arrived = session.new_inbox(), asyncio.Queue[Message](_WAITING)

    def receive(message: Message) -> None:
        with suppress(asyncio.QueueFull):
            arrived.put_nowait(message)

    ends_at = asyncio.get_running_loop().time() + deadline
    async with session.subscription(inbox, receive):
        await session.publish(subject, payload, reply=inbox)
        while True:
            try:
                async with asyncio.timeout_at(ends_at):
                    message = await arrived.get()
            except TimeoutError:
                raise BusUnavailableError(f"{subject} had not ended within {deadline:g} s") from None
            if message.status == "503":
                raise NoResponderError(f"nobody serves {subject} now")
            if ERROR_HEADER in message.headers:
                raise RequestFailedError(f"{subject}: {message.headers[ERROR_HEADER]}")
            if END_HEADER in message.headers:
                return
            yield message.payload
