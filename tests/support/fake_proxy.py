"""A forward proxy that knows CONNECT, leads names to local ports, and remembers what it was asked."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field


@dataclass
class FakeProxy:
    """`routes` maps `name:port` to a local (host, port); anything else is answered with `refusal`."""

    routes: dict[str, tuple[str, int]] = field(default_factory=dict)
    refusal: str = "403 Forbidden"
    port: int = 0
    asked: list[str] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head[:-4].split("\r\n")
        method, target, _ = first.split(" ")
        self.asked.append(f"{method} {target}")
        pairs = (line.partition(":") for line in lines)
        self.headers.append({name.lower(): value.strip() for name, _, value in pairs})
        if (route := self.routes.get(target)) is None:
            writer.write(f"HTTP/1.1 {self.refusal}\r\nContent-Length: 0\r\n\r\n".encode())
            await writer.drain()
            return
        far_reader, far_writer = await asyncio.open_connection(*route)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_pipe(reader, far_writer))
                group.create_task(_pipe(far_reader, writer))
        finally:
            far_writer.close()


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while chunk := await reader.read(65536):
            writer.write(chunk)
            await writer.drain()
        writer.write_eof()


@asynccontextmanager
async def proxying() -> AsyncIterator[FakeProxy]:
    """Serve on a free port of loopback."""
    proxy = FakeProxy()
    tasks: set[asyncio.Task[None]] = set()

    async def on_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with suppress(asyncio.CancelledError, OSError, asyncio.IncompleteReadError):
            await proxy.serve(reader, writer)
        writer.close()
        tasks.discard(task)

    server = await asyncio.start_server(on_connection, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        for task in tuple(tasks):
            task.cancel()
        if tasks:
            await asyncio.wait(tuple(tasks))
