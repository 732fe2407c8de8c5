"""A bus that keeps what is put on it, and can be down."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

from vreg_shared.bus import (
    Bookmark,
    BusHinderedError,
    BusRefusedError,
    BusUnavailableError,
    NoResponderError,
    Stored,
)
from vreg_shared.messages.record import SignedRecord, decode
from vreg_shared.signing import VerifyingKey
from vreg_shared.topology import stored


class FakeRecordBus:
    """What the api sees of the bus; `values` is what readers would, `proxies` are who answers requests."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, str], bytes] = {}
        self.events: dict[str, tuple[str, bytes]] = {}
        self.puts: list[str] = []
        self.refuses: set[str] = set()
        self.hinders: set[str] = set()
        self.proxies: list[Callable[[bytes], Awaitable[bytes]]] = []
        self.tellers: dict[str, Callable[[bytes], AsyncGenerator[bytes, None]]] = {}
        """Who holds conversations, by subject."""
        self._up = asyncio.Event()
        self._published = asyncio.Event()
        self._callbacks: list[Callable[[], Awaitable[None]]] = []

    @property
    def connected(self) -> bool:
        return self._up.is_set()

    async def wait_connected(self) -> None:
        await self._up.wait()

    def on_connected(self, callback: Callable[[], Awaitable[None]]) -> None:
        self._callbacks.append(callback)

    async def come_up(self) -> None:
        self._up.set()
        for callback in self._callbacks:
            await callback()

    def go_down(self, *, lose_everything: bool = False) -> None:
        self._up.clear()
        if lose_everything:
            self.values.clear()

    async def put(self, bucket: str, key: str, value: bytes) -> None:
        self._require_up()
        if key in self.refuses:
            raise BusRefusedError("too large, says the test")
        if key in self.hinders:
            raise BusHinderedError("full, says the test")
        self.puts.append(key)
        self.values[bucket, key] = value

    async def publish(self, subject: str, payload: bytes, *, message_id: str) -> None:
        self._require_up()
        self.events[message_id] = (subject, payload)
        published, self._published = self._published, asyncio.Event()
        published.set()

    async def read(
        self,
        stream: str,
        bookmark: Callable[[], Awaitable[Bookmark | None]],
        on_stored: Callable[[Sequence[Stored]], Awaitable[None]],
    ) -> None:
        """Hand over what was published there, and then what is."""
        prefix = stored(stream).subjects.removesuffix(">")
        after = await bookmark()
        told = after.sequence if after is not None else 0
        while True:
            await self.wait_connected()
            published = self._published
            found = [
                Stored(number, subject, payload)
                for number, (subject, payload) in enumerate(self.events.values(), start=1)
                if number > told and subject.startswith(prefix)
            ]
            if found:
                await on_stored(found)
                told = found[-1].sequence
            await published.wait()

    async def gather(self, subject: str, payload: bytes, *, deadline: float, quiet: float) -> list[bytes]:  # noqa: ARG002 - nobody dawdles here
        self._require_up()
        if not self.proxies:
            raise NoResponderError(f"nobody serves {subject} now")
        return [await answer(payload) for answer in self.proxies]

    async def converse(
        self,
        subject: str,
        payload: bytes,
        *,
        deadline: float,  # noqa: ARG002 - nobody dawdles here
    ) -> AsyncGenerator[bytes, None]:
        self._require_up()
        if subject not in self.tellers:
            raise NoResponderError(f"nobody serves {subject} now")
        async for answer in self.tellers[subject](payload):
            yield answer

    def record(self, bucket: str, key: str, writer: VerifyingKey) -> SignedRecord | None:
        """Return what a reader would believe."""
        raw = self.values.get((bucket, key))
        return decode(raw, writer, bucket, key) if raw is not None else None

    def _require_up(self) -> None:
        if not self.connected:
            raise BusUnavailableError("the fake bus is down")
