"""Sending a body that is not in memory: a deadline on every send, and an eye on the client all along."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from vreg_proxy.distribution.replies import Headers, Message, Receive, Send
from vreg_shared.errors import VregError
from vreg_shared.registry_client import BlobInterruptedError

SEND_SECONDS: Final = 60.0
"""A client that takes nothing for so long is gone."""
LEAST_BYTES_PER_SECOND: Final = 8 * 1024
"""While we wait for the client: one that takes less, on average of a minute, drips on purpose."""
LARGE_BYTES: Final = 256 * 1024
"""What is sent in one go whether the client takes it or not."""


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
    client = _Patience(send)
    await client.give({"type": "http.response.start", "status": status, "headers": headers})
    try:
        while piece is not None:
            await client.give({"type": "http.response.body", "body": piece, "more_body": True}, len(piece))
            piece = await anext(pieces, None)
    except BlobInterruptedError as error:
        raise BodyCutShortError(f"the body ends early: {error.reason}") from error
    await client.give({"type": "http.response.body", "body": b"", "more_body": False})


class _Patience:
    """How long we still wait for a client: what it takes earns it time, waiting for it costs that time."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._now = asyncio.get_running_loop().time
        self._left = SEND_SECONDS

    async def give(self, message: Message, size: int = 0) -> None:
        """Hand over a message; raise ClientGoneError."""
        began = self._now()
        try:
            async with asyncio.timeout(self._left):
                await self._send(message)
        except TimeoutError as error:
            raise ClientGoneError("the client stopped reading, or reads too slowly") from error
        self._left = patience_left(self._left, self._now() - began, size)


def patience_left(left: float, waited: float, taken: int) -> float:
    """Return the seconds we wait from now on, after a client took so many bytes in so many seconds."""
    return min(SEND_SECONDS, max(0.0, left - waited) + taken / LEAST_BYTES_PER_SECOND)


async def pieces_of(body: bytes) -> AsyncIterator[bytes]:
    """Cut a body that is in memory, so that no connection holds a second whole one."""
    for start in range(0, len(body), LARGE_BYTES):
        yield body[start : start + LARGE_BYTES]


async def _disconnected(receive: Receive) -> None:
    """Return when the client is gone. What it still sends is not for us."""
    while (await receive())["type"] != "http.disconnect":
        pass
