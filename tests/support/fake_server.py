"""A TLS server on loopback that says exactly what it is told to, right or wrong, and remembers who asked."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import trustme


@dataclass(frozen=True)
class Seen:
    """A request as it came over the wire; header names are lower case."""

    method: str
    target: str
    headers: Mapping[str, str]

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        return self.target.partition("?")[2]


@dataclass(frozen=True)
class Reply:
    """An answer. `length` overrides Content-Length; None with `is_chunked` False means close-delimited.

    `cut` ends the connection after so many bytes of the body; `stall` keeps it open there and goes silent.
    `drip` is how many seconds each byte of the body takes.
    """

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    length: int | str | None = "true"
    is_chunked: bool = False
    cut: int | None = None
    stall: bool = False
    drip: float = 0.0


DROP = Reply(status=0)
"""Close the connection without a word."""
SILENCE = Reply(status=0, stall=True)
"""Keep the connection open without a word."""

Handler = Callable[[Seen], Reply]


@dataclass
class FakeServer:
    """Start with `async with serving(...)`. `connections` counts completed handshakes."""

    handler: Handler
    host: str
    port: int = 0
    connections: int = 0
    seen: list[Seen] = field(default_factory=list)

    @property
    def authority(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def origin(self) -> str:
        return f"https://{self.authority}"

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._answer_one(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            with suppress(OSError, ssl.SSLError):
                await writer.wait_closed()

    async def _answer_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head[:-4].split("\r\n")
        method, target, _ = first.split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        seen = Seen(method, target, headers)
        self.seen.append(seen)
        reply = self.handler(seen)
        if reply is SILENCE:
            await asyncio.Event().wait()
        if reply is DROP:
            return False
        return await _write(writer, reply, is_head=method == "HEAD")


async def _write(writer: asyncio.StreamWriter, reply: Reply, *, is_head: bool) -> bool:
    lines = [f"HTTP/1.1 {reply.status} X", *(f"{name}: {value}" for name, value in reply.headers)]
    length = len(reply.body) if reply.length == "true" else reply.length
    if reply.is_chunked:
        lines.append("Transfer-Encoding: chunked")
    elif length is not None:
        lines.append(f"Content-Length: {length}")
    writer.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
    body = b"" if is_head else reply.body[: reply.cut]
    if reply.is_chunked and not is_head:
        body = b"%x\r\n%s\r\n" % (len(body), body) if body else b""
        body += b"" if reply.cut is not None else b"0\r\n\r\n"
    for piece in [body[at : at + 1] for at in range(len(body))] if reply.drip else [body]:
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(reply.drip)
    if reply.stall:
        await asyncio.Event().wait()
    is_delimited = reply.is_chunked or length == len(reply.body) or is_head
    return is_delimited and reply.cut is None


@asynccontextmanager
async def serving(
    handler: Handler,
    authority: trustme.CA | None,
    host: str = "127.0.0.1",
    port: int = 0,
    names: tuple[str, ...] = (),
) -> AsyncIterator[FakeServer]:
    """Serve with a certificate of `authority` for the host's address and `names`; None serves in clear."""
    fake = FakeServer(handler, host)
    tasks: set[asyncio.Task[None]] = set()

    async def on_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        fake.connections += 1
        with suppress(asyncio.CancelledError):
            await fake.answer(reader, writer)

    context = server_context(authority, host, *names) if authority is not None else None
    server = await asyncio.start_server(on_connection, host, port, ssl=context, limit=2**20)
    fake.port = server.sockets[0].getsockname()[1]
    try:
        yield fake
    finally:
        server.close()
        for task in tuple(tasks):
            task.cancel()
        if tasks:
            await asyncio.wait(tuple(tasks))


def server_context(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return context


@asynccontextmanager
async def canary(host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[list[str]]:
    """Listen in clear and count: yields a list with the address first and one entry a connection after it."""
    heard: list[str] = []

    async def on_connection(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append("connection")
        writer.close()

    server = await asyncio.start_server(on_connection, host, port)
    heard.append(f"{host}:{server.sockets[0].getsockname()[1]}")
    try:
        yield heard
    finally:
        server.close()
