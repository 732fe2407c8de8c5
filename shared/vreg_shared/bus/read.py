"""A stream from its beginning or from a bookmark: every message once, in order, and nothing lost unnoticed.

Nothing is acknowledged: the reader keeps its bookmark where it keeps what it read, in one transaction.
"""

import asyncio
import hashlib
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from vreg_shared.bus.errors import BusUnavailableError
from vreg_shared.bus.follow import SILENCE_SECONDS, FeedBrokenError, position_of
from vreg_shared.bus.jetstream import create_reader
from vreg_shared.bus.session import Message, Session
from vreg_shared.topology import Stream

BATCH: Final = 100


@dataclass(frozen=True, slots=True)
class Bookmark:
    """The last message that was read: its number means nothing without its SHA-256 (a stream may be new)."""

    sequence: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Stored:
    """A message as the stream holds it."""

    sequence: int
    subject: str
    payload: bytes

    @property
    def bookmark(self) -> Bookmark:
        """Where to read on after it."""
        return Bookmark(self.sequence, hashlib.sha256(self.payload).hexdigest())


OnStored = Callable[[Sequence[Stored]], Awaitable[None]]


class Queue:
    """What came and was not read yet; `receive` never waits. It fails when something was lost on the way."""

    def __init__(self) -> None:
        self.wake = asyncio.Event()
        self.has_nothing = False
        """Whether the server said that it had nothing to deliver at all."""
        self._waiting: deque[Stored] = deque()
        self._flow_control: deque[str] = deque()
        self._delivered = 0
        self._broken = ""

    def receive(self, message: Message) -> None:
        """Take note of a message."""
        self.wake.set()
        if message.status:
            self._receive_control(message)
            return
        sequence, delivered, _ = position_of(message.reply)
        if delivered != self._delivered + 1:
            self.fail(f"delivery {delivered} came after {self._delivered}")
            return
        self._delivered = delivered
        self._waiting.append(Stored(sequence, message.subject, message.payload))

    def _receive_control(self, message: Message) -> None:
        if message.reply:
            self._flow_control.append(message.reply)
            return
        last = message.headers.get("Nats-Last-Consumer", "")
        self.has_nothing = last == "0"
        if last.isdecimal() and int(last) > self._delivered:
            self.fail(f"the server delivered {last}, {self._delivered} arrived")
        if stalled := message.headers.get("Nats-Consumer-Stalled", ""):
            self._flow_control.append(stalled)

    def fail(self, reason: str) -> None:
        """Stop believing in this feed."""
        self._broken = self._broken or reason
        self.wake.set()

    def take(self) -> list[Stored]:
        """Return a batch, oldest first; raise FeedBrokenError once nothing whole is left."""
        if not self._waiting and self._broken:
            raise FeedBrokenError(self._broken)
        return [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]

    def answers(self) -> list[str]:
        """Return where the server asks whether it may go on: it may once all that came was read."""
        if self._waiting:
            return []
        asked = list(dict.fromkeys(self._flow_control))
        self._flow_control.clear()
        return asked


async def read_once(session: Session, stream: Stream, after: Bookmark | None, on_stored: OnStored) -> None:
    """Hand over what follows the bookmark until the feed cannot be trusted any more.

    Always ends by an error: BusUnavailableError (FeedBrokenError), BusPermissionError, or the reader's own.
    """
    if after is not None:
        await _read(session, stream, after, on_stored)
    await _read(session, stream, None, on_stored)


async def _read(session: Session, stream: Stream, after: Bookmark | None, on_stored: OnStored) -> None:
    """Read until an error; return if the bookmark is not there."""
    queue, inbox = Queue(), session.new_inbox()
    with session.on_loss(lambda: queue.fail("the connection was lost")):
        async with session.subscription(inbox, queue.receive):
            start = after.sequence if after is not None else 1
            await create_reader(session, stream.stream, stream.subjects, inbox, start)
            while True:
                queue.wake.clear()
                if after is not None and queue.has_nothing:
                    return
                while messages := queue.take():
                    if after is not None:
                        if messages[0].bookmark != after:
                            return
                        messages, after = messages[1:], None
                    if messages:
                        await on_stored(messages)
                for subject in queue.answers():
                    await session.publish(subject, b"")
                await _wait(queue)


async def _wait(queue: Queue) -> None:
    try:
        async with asyncio.timeout(SILENCE_SECONDS):
            await queue.wake.wait()
    except TimeoutError:
        raise BusUnavailableError(f"the server was silent for {SILENCE_SECONDS:g} s") from None
