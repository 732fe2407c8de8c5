"""A wire with a delay: passes bytes on as fast as they come, and later."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

_PIECE = 256 * 1024


@dataclass(slots=True)
class Wire:
    """`delay` is seconds in each direction, for what enters from now on."""

    port: int
    delay: float = 0.0


@asynccontextmanager
async def wire_to(host: str, port: int) -> AsyncIterator[Wire]:
    """Run a wire on loopback that leads to `host` and `port`."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        running.add(task)
        with suppress(OSError):
            far_reader, far_writer = await asyncio.open_connection(host, port)
            async with asyncio.TaskGroup() as group:
                group.create_task(_pass_on(reader, far_writer, wire))
                group.create_task(_pass_on(far_reader, writer, wire))
        running.discard(task)

    running: set[asyncio.Task[None]] = set()
    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=_PIECE)
    wire = Wire(server.sockets[0].getsockname()[1])
    try:
        yield wire
    finally:
        server.close()
        for task in tuple(running):
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, wire: Wire) -> None:
    """Let each piece out its delay after it came in; an end travels as slowly as bytes do."""
    loop = asyncio.get_running_loop()
    on_its_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def let_out() -> None:
        with suppress(OSError):
            while True:
                due, piece = await on_its_way.get()
                await asyncio.sleep(due - loop.time())
                if not piece:
                    writer.close()
                    return
                writer.write(piece)
                await writer.drain()

    async with asyncio.TaskGroup() as group:
        group.create_task(let_out())
        piece = b"-"
        while piece:
            try:
                piece = await reader.read(_PIECE)
            except OSError:
                piece = b""
            on_its_way.put_nowait((loop.time() + wire.delay, piece))
