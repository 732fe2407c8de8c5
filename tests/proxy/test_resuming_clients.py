"""A body that we cannot finish ends so that containerd and podman resume it, by their own rules."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.proxy.proxy_world import basic, proxy_world
from tests.proxy.test_http_server import served
from tests.support.fake_registry import FakeRegistry
from tests.support.fake_server import Reply, Seen
from vreg_shared.oci.digest import Digest

MIB = 1024 * 1024
LAYER = bytes(range(256)) * (9 * MIB // 256)
BREAKS = (2 * MIB, 4 * MIB, 7 * MIB)
_RANGE = re.compile(r"bytes=(\d+)-")


@dataclass
class Breaking:
    """An upstream whose connections break at these offsets, and who then speaks of another blob for once."""

    breaks: list[int] = field(default_factory=lambda: list(BREAKS))
    lies: bool = False

    def override(self, seen: Seen) -> Reply | None:
        asked = _RANGE.fullmatch(seen.headers.get("range", ""))
        offset = int(asked[1]) if asked is not None else 0
        if self.lies:
            self.lies = False
            return Reply(200, (), LAYER[::-1])
        if not self.breaks:
            return None
        self.lies = True
        end = self.breaks.pop(0)
        return self._part(offset, cut=end - offset)

    def _part(self, offset: int, cut: int) -> Reply:
        if not offset:
            return Reply(200, (), LAYER, cut=cut)
        span = f"bytes {offset}-{len(LAYER) - 1}/{len(LAYER)}"
        return Reply(206, (("Content-Range", span),), LAYER[offset:], cut=cut)


@dataclass(frozen=True)
class Ended:
    """How an answer ended: `whole` as announced, otherwise in good order (`eof`) or by a reset."""

    body: bytes
    how: str


@dataclass
class Wire:
    """Asks for the blob on a connection of its own."""

    port: int
    authorization: str
    asked: int = 0

    async def get(self, offset: int) -> Ended:
        self.asked += 1
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            part = f"Range: bytes={offset}-\r\n" if offset else ""
            writer.write(
                f"GET /v2/main/team/app/blobs/{Digest.of(LAYER)} HTTP/1.1\r\nHost: x\r\n"
                f"Authorization: {self.authorization}\r\n{part}\r\n".encode()
            )
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            assert head.startswith(b"http/1.1 206" if offset else b"http/1.1 200"), head
            length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
            return await _read(reader, length)
        finally:
            writer.close()


async def _read(reader: asyncio.StreamReader, length: int) -> Ended:
    body = b""
    try:
        while len(body) < length:
            piece = await reader.read(MIB)
            if not piece:
                return Ended(body, "eof")
            body += piece
    except ConnectionResetError:
        return Ended(body, "reset")
    return Ended(body, "whole")


async def containerd(wire: Wire) -> bytes:
    """Resume after an end that came too early, and give up at a reset."""
    body = b""
    while True:
        ended = await wire.get(len(body))
        body += ended.body
        if ended.how == "whole":
            return body
        assert ended.how == "eof", "containerd does not resume after a reset"


async def podman(wire: Wire) -> bytes:
    """Resume once for nothing, and again after 1 MiB more; or after a minute, for which nobody waits here."""
    body, resumed_at = b"", None
    while True:
        ended = await wire.get(len(body))
        body += ended.body
        if ended.how == "whole":
            return body
        assert resumed_at is None or len(body) - resumed_at >= MIB, "podman gives up without progress"
        resumed_at = len(body)


@pytest.fixture
async def wire(tmp_path: Path) -> AsyncIterator[Wire]:
    async with proxy_world(tmp_path) as world:
        registry = FakeRegistry(override=Breaking().override)
        registry.add_blob("team/app", LAYER)
        await world.upstream("a", registry)
        world.registry("main", "a")
        async with served(world.surface) as port:
            yield Wire(port, basic("any", world.access()))


@pytest.mark.parametrize("pull", [containerd, podman])
async def test_a_blob_that_breaks_again_and_again_arrives_whole(
    wire: Wire, pull: Callable[[Wire], "asyncio.Future[bytes]"]
) -> None:
    assert await pull(wire) == LAYER
    assert wire.asked == len(BREAKS) + 1, "every break reached the client"
