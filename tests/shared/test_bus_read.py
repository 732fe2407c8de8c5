"""Reading a stream of a live server: everything, in order, from a bookmark, through crash and lost store."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.nats_server import NatsServer, running_nats_server
from tests.support.wait import eventually
from vreg_shared.bus import Bookmark, Bus, Stored
from vreg_shared.key_files import Service


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    async with running_nats_server(tmp_path) as running:
        await running.create_streams()
        yield running


class Reader:
    """Keeps what it reads and its bookmark, as a database would."""

    def __init__(self) -> None:
        self.read: list[bytes] = []
        self.bookmark: Bookmark | None = None

    async def find(self) -> Bookmark | None:
        return self.bookmark

    async def take(self, messages: Sequence[Stored]) -> None:
        self.read += [message.payload for message in messages]
        self.bookmark = messages[-1].bookmark


@asynccontextmanager
async def reading(server: NatsServer, reader: Reader) -> AsyncIterator[Bus]:
    async with server.bus(Service.API) as bus, asyncio.TaskGroup() as group:
        task = group.create_task(bus.read("VREG_AUDIT", reader.find, reader.take))
        yield bus
        task.cancel()


async def publish(bus: Bus, *texts: str) -> None:
    for text in texts:
        await bus.publish("vreg.audit.api.x", text.encode(), message_id=text)


def numbered(start: int, stop: int) -> list[str]:
    return [f"event {number}" for number in range(start, stop)]


async def test_a_reader_gets_what_is_there_and_what_comes_each_once_and_in_order(server: NatsServer) -> None:
    reader = Reader()
    async with server.bus(Service.API) as bus:
        await publish(bus, *numbered(0, 250))
    async with reading(server, reader) as bus:
        await publish(bus, *numbered(250, 300))
        await eventually(lambda: len(reader.read) >= 300)
    assert reader.read == [text.encode() for text in numbered(0, 300)]


async def test_it_goes_on_after_its_bookmark(server: NatsServer) -> None:
    reader = Reader()
    async with reading(server, reader) as bus:
        await publish(bus, "a", "b")
        await eventually(lambda: len(reader.read) == 2)
    async with server.bus(Service.API) as bus:
        await publish(bus, "c")
    async with reading(server, reader) as bus:
        await publish(bus, "d")
        await eventually(lambda: len(reader.read) >= 4)
    assert reader.read == [b"a", b"b", b"c", b"d"]


async def test_a_crash_of_the_server_loses_and_repeats_nothing(server: NatsServer) -> None:
    reader = Reader()
    async with reading(server, reader) as bus:
        await publish(bus, "a")
        await eventually(lambda: reader.read)
        await server.restart()
        await publish(bus, "b")
        await eventually(lambda: len(reader.read) >= 2, deadline=30)
    assert reader.read == [b"a", b"b"]


@pytest.mark.parametrize("before", [1, 5], ids=["as far as before", "not as far as before"])
async def test_a_stream_that_was_made_anew_is_read_from_its_beginning(
    server: NatsServer, before: int
) -> None:
    reader = Reader()
    async with reading(server, reader) as bus:
        await publish(bus, *numbered(0, before))
        await eventually(lambda: len(reader.read) == before)
        await server.kill()
        server.wipe()
        await server.start()
        await server.create_streams()
        await publish(bus, "new")
        await eventually(lambda: reader.read[-1] == b"new", deadline=30)
    assert reader.read == [*(text.encode() for text in numbered(0, before)), b"new"]
