"""Snapshot, then every change: what one consumer delivers, and when to stop believing in it.

`nats`' own watcher is blind for 19.5 s after a server crash and cannot be limited to a key by permissions.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from vreg_shared.bus.errors import BusUnavailableError
from vreg_shared.bus.jetstream import HEARTBEAT_SECONDS, create_consumer, value_of
from vreg_shared.bus.session import Message, Session

SILENCE_SECONDS: Final = 3 * HEARTBEAT_SECONDS
_OLD_ACK_TOKENS: Final = 9


@dataclass(frozen=True, slots=True)
class Entry:
    """The latest value of a key. There is none for a deletion: absence never deletes.

    `revision` is the bus's own number for it. It says nothing of age, only which value `claim` replaces.
    """

    key: str
    value: bytes
    revision: int = 0


class FeedBrokenError(BusUnavailableError):
    """Messages were lost or the server fell silent: take a new snapshot."""


class Feed:
    """Keeps the latest value of each key until it is taken, and watches that nothing was lost on the way.

    `receive` is called for every message and never waits, so a slow taker costs memory for one value
    per key, not for every change.
    """

    def __init__(self, prefix: str) -> None:
        self.caught_up = False
        self.wake = asyncio.Event()
        self._prefix = prefix
        self._latest: dict[str, Entry] = {}
        self._delivered = 0
        self._broken = ""

    def receive(self, message: Message) -> str:
        """Take note of a message; return the subject to answer for flow control, or nothing."""
        self.wake.set()
        if message.status:
            return self._receive_control(message)
        revision, delivered, pending = position_of(message.reply)
        if delivered != self._delivered + 1:
            self.fail(f"delivery {delivered} came after {self._delivered}")
            return ""
        self._delivered = delivered
        self.caught_up = self.caught_up or pending == 0
        value = value_of(message)
        if value is not None:
            key = message.subject.removeprefix(self._prefix)
            self._latest[key] = Entry(key, value, revision)
        return ""

    def _receive_control(self, message: Message) -> str:
        if message.reply:
            return message.reply
        last = message.headers.get("Nats-Last-Consumer", "")
        if last.isdecimal() and int(last) > self._delivered:
            self.fail(f"the server delivered {last}, {self._delivered} arrived")
        return message.headers.get("Nats-Consumer-Stalled", "")

    def fail(self, reason: str) -> None:
        """Stop believing in this feed."""
        self._broken = self._broken or reason
        self.wake.set()

    def take(self) -> list[Entry]:
        """Return what is new since the last call, oldest key first; raise FeedBrokenError."""
        if self._broken:
            raise FeedBrokenError(self._broken)
        taken, self._latest = self._latest, {}
        return list(taken.values())


async def follow_once(
    session: Session,
    bucket: str,
    key_filter: str,
    on_entry: Callable[[Entry], Awaitable[None]],
    on_synced: Callable[[], Awaitable[None]],
) -> None:
    """Hand over a snapshot and then every change, until it cannot be trusted any more.

    Always ends by an error: BusUnavailableError (FeedBrokenError) or BusPermissionError.
    """
    feed = Feed(f"$KV.{bucket}.")
    flow_control: set[str] = set()

    def receive(message: Message) -> None:
        answer = feed.receive(message)
        if answer:
            flow_control.add(answer)

    inbox = session.new_inbox()
    with session.on_loss(lambda: feed.fail("the connection was lost")):
        async with session.subscription(inbox, receive):
            consumer = await create_consumer(session, bucket, key_filter, inbox)
            feed.caught_up = feed.caught_up or consumer.pending == 0
            synced = False
            while True:
                feed.wake.clear()
                caught_up = feed.caught_up
                for entry in feed.take():
                    await on_entry(entry)
                if caught_up and not synced:
                    synced = True
                    await on_synced()
                while flow_control:
                    await session.publish(flow_control.pop(), b"")
                await _wait(feed)


async def _wait(feed: Feed) -> None:
    try:
        async with asyncio.timeout(SILENCE_SECONDS):
            await feed.wake.wait()
    except TimeoutError:
        raise FeedBrokenError(f"the server was silent for {SILENCE_SECONDS:g} s") from None


def position_of(reply: str) -> tuple[int, int, int]:
    """Return the value's revision, the delivery's number, and how many are pending.

    All are -1 if there are none. They stand in `$JS.ACK.….<revision>.<number>.<time>.<pending>[.<random>]`.
    """
    tokens = reply.split(".")
    if len(tokens) > _OLD_ACK_TOKENS:
        tokens = [*tokens[:2], *tokens[4:11]]
    try:
        return int(tokens[5]), int(tokens[6]), int(tokens[8])
    except (IndexError, ValueError):
        return -1, -1, -1
