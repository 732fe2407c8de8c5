"""A TCP proxy on loopback that does to connections what networks do, and can be changed at any time."""

import asyncio
import fcntl
import random
import socket
import struct
import termios
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum, auto

_NO_LINGER = struct.pack("ii", 1, 0)
_QUEUED_PIECES = 64
_DELIVERY_SECONDS = 0.02


class Direction(StrEnum):
    """Whose bytes: `UP` is from client to server."""

    UP = auto()
    DOWN = auto()


@dataclass(frozen=True, slots=True)
class Toxic:
    """What happens to one direction of a connection. Times are seconds, offsets count its bytes from 0.

    `rate` is bytes a second, passed on `piece` by `piece`: a low rate with a piece of 1 is a drip. A black
    hole takes nothing and says nothing. `reset_after` ends with a RST, `end_after` with a FIN. `flip_at`
    turns one bit over.
    """

    latency: float = 0.0
    jitter: float = 0.0
    rate: float | None = None
    piece: int = 64 * 1024
    is_black_hole: bool = False
    reset_after: int | None = None
    end_after: int | None = None
    flip_at: int | None = None

    @property
    def cut_after(self) -> int | None:
        """Where the connection ends, in one way or the other."""
        cuts = [cut for cut in (self.reset_after, self.end_after) if cut is not None]
        return min(cuts, default=None)


HEALTHY = Toxic()
_Toxics = dict[Direction, Toxic]


@dataclass(eq=False)
class _Link:
    """One client's connection and ours to the server. `own` toxics go before those of everybody."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    own: _Toxics

    def reset(self) -> None:
        for writer in (self.client, self.server):
            peer: socket.socket | None = writer.get_extra_info("socket")
            if peer is not None and not writer.transport.is_closing():
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            writer.transport.abort()


@dataclass(eq=False)
class ToxicProxy:
    """Start with `async with toxic(...)`. Counts what it has passed on, by direction, and what it cut."""

    server_port: int
    port: int = 0
    passed: dict[Direction, int] = field(default_factory=lambda: dict.fromkeys(Direction, 0))
    connections: int = 0
    cuts: int = 0
    _toxics: _Toxics = field(default_factory=lambda: dict.fromkeys(Direction, HEALTHY))
    _choose: Callable[[], Toxic | None] = lambda: None
    _links: set[_Link] = field(default_factory=set)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _listener: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _jitter: random.Random = field(default_factory=random.Random)

    def afflict(self, *, down: Toxic = HEALTHY, up: Toxic = HEALTHY) -> None:
        """Treat every connection so from now on, those that are open too."""
        self._toxics = {Direction.DOWN: down, Direction.UP: up}
        self._choose = lambda: None
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def afflict_each(self, choose: Callable[[], Toxic | None]) -> None:
        """Let `choose` say what every new connection's answers suffer; None is what everybody suffers."""
        self._choose = choose

    def heal(self) -> None:
        """Pass everything on."""
        self.afflict()

    async def refuse(self) -> None:
        """Be a port where nobody listens; who is connected is reset."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        self.reset_all()

    async def listen(self) -> None:
        """Take connections, at the same port as before."""
        self._listener = await asyncio.start_server(self._on_connection, "127.0.0.1", self.port)
        self.port = self._listener.sockets[0].getsockname()[1]

    def reset_all(self) -> None:
        """Reset every open connection."""
        for link in tuple(self._links):
            link.reset()

    async def close(self) -> None:
        """End everything."""
        await self.refuse()
        for task in tuple(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(tuple(self._tasks))

    async def _on_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.connections += 1
        with suppress(OSError, asyncio.CancelledError):
            await self._carry(reader, writer)
        writer.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        chosen = self._choose()
        their_reader, their_writer = await asyncio.open_connection("127.0.0.1", self.server_port)
        link = _Link(writer, their_writer, {} if chosen is None else {Direction.DOWN: chosen})
        self._links.add(link)
        both = (
            asyncio.create_task(self._pass_on(link, Direction.UP, reader, their_writer)),
            asyncio.create_task(self._pass_on(link, Direction.DOWN, their_reader, writer)),
        )
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            for each in both:
                each.cancel()
            await asyncio.gather(*both, return_exceptions=True)
            self._links.discard(link)
            their_writer.transport.abort()

    async def _pass_on(
        self, link: _Link, direction: Direction, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Read at once and write when it is due, so that a latency costs no throughput."""
        on_the_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_QUEUED_PIECES)

        async def take() -> None:
            due = 0.0
            piece = b" "
            while piece:
                piece = await reader.read(self._toxic(link, direction).piece)
                toxic = self._toxic(link, direction)
                now = asyncio.get_running_loop().time()
                due = max(due, now + toxic.latency + self._jitter.uniform(0, toxic.jitter))
                await on_the_way.put((due, piece))

        taking = asyncio.create_task(take())
        try:
            await self._give(link, direction, on_the_way, writer)
        finally:
            taking.cancel()
            await asyncio.wait([taking])

    async def _give(
        self,
        link: _Link,
        direction: Direction,
        on_the_way: asyncio.Queue[tuple[float, bytes]],
        writer: asyncio.StreamWriter,
    ) -> None:
        position = 0
        while True:
            due, piece = await on_the_way.get()
            await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))
            while self._toxic(link, direction).is_black_hole:
                await self._changed.wait()
            toxic = self._toxic(link, direction)
            if not piece:
                writer.write_eof()
                return
            if toxic.rate is not None:
                await asyncio.sleep(len(piece) / toxic.rate)
            rest = None if toxic.cut_after is None else max(0, toxic.cut_after - position)
            passing = _flipped(piece[:rest], toxic.flip_at, position)
            writer.write(passing)
            await writer.drain()
            position += len(passing)
            self.passed[direction] += len(passing)
            if toxic.cut_after is not None and position >= toxic.cut_after:
                await self._cut(link, writer, is_reset=position == toxic.reset_after)
                return

    async def _cut(self, link: _Link, writer: asyncio.StreamWriter, *, is_reset: bool) -> None:
        self.cuts += 1
        await _delivered(writer)
        if is_reset:
            link.reset()
        else:
            writer.close()
            await writer.wait_closed()
            link.reset()

    def _toxic(self, link: _Link, direction: Direction) -> Toxic:
        return link.own.get(direction, self._toxics[direction])


def _flipped(piece: bytes, at: int | None, position: int) -> bytes:
    if at is None or not position <= at < position + len(piece):
        return piece
    spoilt = bytearray(piece)
    spoilt[at - position] ^= 1
    return bytes(spoilt)


async def _delivered(writer: asyncio.StreamWriter) -> None:
    """Let the other side have what it was sent: a reset throws away what it has not read yet."""
    peer = writer.get_extra_info("socket")
    while not writer.transport.is_closing():
        (unacknowledged,) = struct.unpack("i", fcntl.ioctl(peer.fileno(), termios.TIOCOUTQ, b"\0\0\0\0"))
        if not unacknowledged and not writer.transport.get_write_buffer_size():
            break
        await asyncio.sleep(0.001)
    await asyncio.sleep(_DELIVERY_SECONDS)


@asynccontextmanager
async def toxic(server_port: int, *, seed: int = 0) -> AsyncIterator[ToxicProxy]:
    """Stand between clients and a server on loopback, healthy to begin with; `seed` is the jitter's."""
    proxy = ToxicProxy(server_port, _jitter=random.Random(seed))  # noqa: S311 - has to be repeatable
    await proxy.listen()
    try:
        yield proxy
    finally:
        await proxy.close()
