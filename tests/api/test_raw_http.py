"""Requests that two servers may read differently: one answer and the connection closed, or 4xx."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from contextlib import nullcontext

import pytest
import uvicorn

from tests.support.api_world import Api
from tests.support.wait import eventually
from vreg_api.app import create_app
from vreg_api.strict_http import StrictHttp

HOST = b"Host: api\r\n"
SECOND = b"GET /api/v1/openapi.json HTTP/1.1\r\nHost: api\r\n\r\n"
"""What a smuggler would like to be read as a request of its own."""
REFUSED = {
    "length and chunks": b"POST /livez HTTP/1.1\r\n" + HOST + b"Content-Length: 4\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SECOND,
    "two lengths": b"POST /livez HTTP/1.1\r\n" + HOST
    + b"Content-Length: 0\r\nContent-Length: 5\r\n\r\n" + SECOND,
    "length with sign": b"POST /livez HTTP/1.1\r\n" + HOST + b"Content-Length: +5\r\n\r\n" + SECOND,
    "lengths in a list": b"POST /livez HTTP/1.1\r\n" + HOST + b"Content-Length: 5, 5\r\n\r\n" + SECOND,
    "odd coding": b"POST /livez HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: xchunked\r\n\r\n" + SECOND,
    "coding after chunks": b"POST /livez HTTP/1.1\r\n" + HOST
    + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + SECOND,
    "space before colon": b"GET /livez HTTP/1.1\r\nHost : api\r\n\r\n",
    "folded header": b"GET /livez HTTP/1.1\r\n" + HOST + b"X: a\r\n b\r\n\r\n",
    "NUL in header": b"GET /livez HTTP/1.1\r\n" + HOST + b"X: a\0b\r\n\r\n",
    "bare CR in header": b"GET /livez HTTP/1.1\r\n" + HOST + b"X: a\rb\r\n\r\n",
    "no host": b"GET /livez HTTP/1.1\r\n\r\n",
    "two hosts": b"GET /livez HTTP/1.1\r\n" + HOST + b"Host: other\r\n\r\n",
    "two hosts alike": b"GET /livez HTTP/1.1\r\n" + HOST + HOST + b"\r\n",
    "absolute target": b"GET http://api/livez HTTP/1.1\r\n" + HOST + b"\r\n",
    "target with host": b"GET //other/livez HTTP/1.1\r\n" + HOST + b"\r\n",
    "asterisk": b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n",
    "tunnel": b"CONNECT api:443 HTTP/1.1\r\n" + HOST + b"\r\n",
    "fragment": b"GET /livez#x HTTP/1.1\r\n" + HOST + b"\r\n",
    "version 2": b"GET /livez HTTP/2.0\r\n" + HOST + b"\r\n",
    "version 0.9": b"GET /livez\r\n\r\n",
    "preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "long target": b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
    "many headers": b"GET /livez HTTP/1.1\r\n" + HOST + b"X: a\r\n" * 101 + b"\r\n",
    "large header": b"GET /livez HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 17000 + b"\r\n\r\n",
    "endless header": b"GET /livez HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 100_000,
    "no method": b" /livez HTTP/1.1\r\n" + HOST + b"\r\n",
    "no request": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "two authorizations": b"GET /api/v1/identities HTTP/1.1\r\n" + HOST
    + b"Authorization: Bearer a\r\nAuthorization: Bearer b\r\nConnection: close\r\n\r\n",
}  # fmt: skip


@pytest.fixture
async def port(api: Api) -> AsyncIterator[int]:
    """The port of the api, served as its process does."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(
            create_app(api.world),
            http=StrictHttp,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=1,
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


async def said(port: int, request: bytes) -> bytes:
    """Send bytes as they are, and return everything that comes until the connection is closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        async with asyncio.timeout(30):
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


@pytest.mark.parametrize("name", REFUSED)
async def test_an_ambiguous_request_is_refused_and_its_connection_closed(port: int, name: str) -> None:
    statuses = re.findall(rb"HTTP/1\.1 (\d{3})", await said(port, REFUSED[name]))
    assert len(statuses) <= 1
    assert all(status.startswith(b"4") for status in statuses), statuses


async def test_plain_requests_are_answered_one_after_the_other(port: int) -> None:
    plain = b"GET /livez HTTP/1.1\r\nHost: api\r\n\r\n"
    last = b"GET /livez HTTP/1.0\r\n\r\n"
    answer = await said(port, plain + plain + last)
    assert re.findall(rb"HTTP/1\.1 (\d{3})", answer) == [b"200"] * 3


async def test_a_client_that_never_finishes_its_request_is_let_go(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vreg_api.strict_http.HEADER_SECONDS", 0.05)
    for beginning in (b"", b"GET /livez HT", b"GET /livez HTTP/1.1\r\nHost: x\r\n"):
        assert await said(port, beginning) == b""


@pytest.mark.parametrize("forged", [b"Host: evil.example.com", b"X-Forwarded-Host: evil.example.com"])
async def test_no_answer_repeats_who_the_request_says_we_are(port: int, api: Api, forged: bytes) -> None:
    host = b"" if forged.startswith(b"Host") else HOST
    body = b'{"slug":"team"}'
    request = (
        b"POST /api/v1/virtual_registries HTTP/1.1\r\n" + host + forged + b"\r\n"
        b"Authorization: Bearer " + api.admin_token.encode() + b"\r\nContent-Type: application/json\r\n"
        b"Content-Length: " + str(len(body)).encode() + b"\r\nConnection: close\r\n\r\n" + body
    )
    answer = await said(port, request)
    assert answer.startswith(b"HTTP/1.1 201")
    assert b"location: /api/v1/virtual_registries/" in answer.lower()
    assert b"evil" not in answer
