"""Answers on the wire: deadlines for clients that say nothing, and bodies that end early in good order."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from typing import Any

import pytest
import uvicorn

from tests.proxy.proxy_world import Asgi, ProxyWorld, basic
from tests.proxy.test_pulls import LAYER
from tests.support.fake_registry import FakeRegistry
from tests.support.wait import eventually
from vreg_proxy.distribution.replies import Message
from vreg_proxy.distribution.sending import BodyCutShortError, ClientGoneError, send_body
from vreg_proxy.door import STATE_KEY, Door
from vreg_proxy.strict_http import StrictHttp
from vreg_shared.oci.digest import Digest
from vreg_shared.registry_client import BlobInterruptedError

HEADERS = [(b"content-length", b"6")]


@asynccontextmanager
async def served(app: Asgi, door: Door | None = None) -> AsyncIterator[int]:
    """Serve an application as the proxy's workers do, and yield its port."""

    class Protocol(StrictHttp):
        def __init__(self, *arguments: Any, **named: Any) -> None:  # noqa: ANN401 - uvicorn's own signature
            named["app_state"] = {} if door is None else {STATE_KEY: door}
            super().__init__(*arguments, **named)

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(
            app,  # type: ignore[arg-type]
            http=Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=1,
        )
        server = uvicorn.Server(config)
        server.capture_signals = nullcontext  # type: ignore[method-assign,assignment]
        running = asyncio.create_task(server.serve(sockets=[listener]))
        await eventually(lambda: server.started)
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            await running


async def nothing_to_say(_scope: object, _receive: object, _send: object) -> None:
    raise AssertionError("no request was complete")


@pytest.mark.parametrize(
    "said", [b"", b"\r\n", b"GET /v2/ HT", b"GET /v2/ HTTP/1.1\r\nHost: x\r\n", b"\r\n\r\n"]
)
async def test_a_client_that_never_finishes_its_request_is_let_go(
    said: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vreg_proxy.strict_http.HEADER_SECONDS", 0.05)
    async with served(nothing_to_say) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(said)
        async with asyncio.timeout(5):
            assert await reader.read() == b""
        writer.close()


async def test_a_body_that_cannot_be_finished_ends_short_and_without_a_reset(world: ProxyWorld) -> None:
    registry = FakeRegistry()
    registry.blobs["team/app", str(Digest.of(LAYER))] = LAYER[:-1] + b"X"
    await world.upstream("a", registry)
    world.registry("main", "a")
    request = (
        f"GET /v2/main/team/app/blobs/{Digest.of(LAYER)} HTTP/1.1\r\nHost: x\r\n"
        f"Authorization: {basic('any', world.access())}\r\n\r\n"
    )
    async with served(world.surface) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request.encode())
        head = await reader.readuntil(b"\r\n\r\n")
        body = await reader.read()
        writer.close()
    assert head.startswith(b"HTTP/1.1 200")
    assert f"content-length: {len(LAYER)}".encode() in head
    assert 0 < len(body) < len(LAYER)
    assert LAYER.startswith(body)


class Client:
    """An ASGI client that may leave, or take nothing."""

    def __init__(self, *, takes: bool = True) -> None:
        self.sent: list[Message] = []
        self.left = asyncio.Event()
        self._takes = takes

    async def send(self, message: Message) -> None:
        if not self._takes:
            await asyncio.Event().wait()
        self.sent.append(message)

    async def receive(self) -> Message:
        await self.left.wait()
        return {"type": "http.disconnect"}

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)


async def pieces(*found: bytes | Exception) -> AsyncIterator[bytes]:
    for each in found:
        if isinstance(each, Exception):
            raise each
        yield each


async def test_a_body_is_sent_whole() -> None:
    client = Client()
    await send_body(200, HEADERS, pieces(b"abc", b"def"), client.send, client.receive)
    assert client.body == b"abcdef"
    assert not client.sent[-1]["more_body"]


async def test_nothing_is_sent_when_nothing_can_be_had() -> None:
    client = Client()
    with pytest.raises(BlobInterruptedError):
        await send_body(200, HEADERS, pieces(BlobInterruptedError("x", 0)), client.send, client.receive)
    assert not client.sent


async def test_a_body_cut_in_the_middle_is_never_finished() -> None:
    client = Client()
    with pytest.raises(BodyCutShortError):
        await send_body(
            200, HEADERS, pieces(b"abc", BlobInterruptedError("x", 3)), client.send, client.receive
        )
    assert client.sent[-1]["more_body"]


async def test_a_client_that_leaves_ends_the_sending() -> None:
    client = Client()

    async def endless() -> AsyncIterator[bytes]:
        yield b"abc"
        client.left.set()
        await asyncio.Event().wait()

    with pytest.raises(ClientGoneError):
        await send_body(200, HEADERS, endless(), client.send, client.receive)


async def test_a_client_that_takes_nothing_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vreg_proxy.distribution.sending.SEND_SECONDS", 0.01)
    client = Client(takes=False)
    with pytest.raises(ClientGoneError):
        await send_body(200, HEADERS, pieces(b"abc"), client.send, client.receive)
