"""Sending a body that is not in memory: a deadline on every send, and an eye on the client all along."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from vreg_proxy.distribution.replies import Headers, Message, Receive, Send
from vreg_shared.errors import VregError
from vreg_shared.registry_client import BlobInterruptedError

SEND_SECONDS: Final = 60.0
"""For one piece of at most 1 MiB: a client that takes less in a minute is gone, or drips on purpose."""
PIECE_BYTES: Final = 1024 * 1024


class BodyCutShortError(VregError):
    """An answer has begun, and the rest of its body cannot be had, or nobody is there to take it."""


class ClientGoneError(BodyCutShortError):
    """The client left or stopped reading."""


async def send_body(
    status: int, headers: Headers, pieces: AsyncIterator[bytes | bytearray], send: Send, receive: Receive
) -> None:
    """Send headers and pieces; raise BodyCutShortError when it ends before its Content-Length.

    A BlobInterruptedError is raised while nothing was sent yet, so there can still be an honest answer.
    After a cut the caller returns without finishing the answer: the server closes the connection in good
    order, and the client sees a body that is too short, which it resumes; a reset it may not.
    """
    sending = asyncio.ensure_future(_send(status, headers, pieces, send))
    leaving = asyncio.ensure_future(_disconnected(receive))
    try:
        await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not sending.done():
            raise ClientGoneError("the client left")
        sending.result()
    finally:
        for task in (sending, leaving):
            task.cancel()
        await asyncio.gather(sending, leaving, return_exceptions=True)


async def _send(status: int, headers: Headers, pieces: AsyncIterator[bytes | bytearray], send: Send) -> None:
    piece = await anext(pieces, None)
    await _give(send, {"type": "http.response.start", "status": status, "headers": headers})
    try:
        while piece is not None:
            await _give(send, {"type": "http.response.body", "body": piece, "more_body": True})
            piece = await anext(pieces, None)
    except BlobInterruptedError as error:
        raise BodyCutShortError(f"the body ends early: {error.reason}") from error
    await _give(send, {"type": "http.response.body", "body": b"", "more_body": False})


async def _give(send: Send, message: Message) -> None:
    try:
        async with asyncio.timeout(SEND_SECONDS):
            await send(message)
    except TimeoutError as error:
        raise ClientGoneError("the client stopped reading") from error


async def _disconnected(receive: Receive) -> None:
    """Return when the client is gone. What it still sends is not for us."""
    while (await receive())["type"] != "http.disconnect":
        pass
