"""Answers from memory on the wire: the same bytes as the usual way's, the same refusals, in their order."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest

from tests.proxy.proxy_world import ACCESS_ID, ProxyWorld, basic
from tests.proxy.test_http_server import served
from tests.proxy.test_pulls import BY_DIGEST, MANIFEST, holding
from vreg_proxy.distribution.replies import Reply, Scope
from vreg_shared.secret import Secret

ETAG = BY_DIGEST.rpartition("/")[2]


@dataclass(frozen=True)
class Heard:
    """One answer on the wire, but for the time."""

    status: bytes
    headers: dict[bytes, bytes]
    body: bytes


class Line:
    """One connection to a proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def ask(self, token: Secret | None, *more: str, method: str = "GET") -> Heard:
        """Send a request for the manifest and return the answer."""
        self.say(request(token, *more, method=method))
        return await self.hear(has_body=method != "HEAD")

    def say(self, text: str) -> None:
        self._writer.write(text.encode())

    async def hear(self, *, has_body: bool = True) -> Heard:
        head = await self._reader.readuntil(b"\r\n\r\n")
        status, *lines = head[:-4].split(b"\r\n")
        headers = dict(line.split(b": ", 1) for line in lines)
        length = int(headers.get(b"content-length", 0)) if has_body else 0
        body = await self._reader.readexactly(length)
        assert headers.pop(b"date")
        return Heard(status, headers, body)


def request(token: Secret | None, *more: str, method: str = "GET") -> str:
    given = [f"Authorization: {basic('any', token)}"] if token is not None else []
    return "\r\n".join((f"{method} {BY_DIGEST} HTTP/1.1", "Host: x", *given, *more, "", ""))


@dataclass
class Slow:
    """The same application without what is ready in memory."""

    world: ProxyWorld

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401 - ASGI's
        await self.world.surface(scope, receive, send)


@asynccontextmanager
async def line_to(app: Any) -> AsyncIterator[Line]:  # noqa: ANN401 - ASGI's
    async with served(app) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        yield Line(reader, writer)
        writer.close()


@pytest.fixture
async def token(world: ProxyWorld) -> Secret:
    """A token for a registry whose manifest was pulled once, so that it is in memory."""
    await world.upstream("a", holding())
    world.registry("main", "a")
    token = world.access()
    for _ in range(2):  # the first one learns of the configuration
        assert (await world.get(BY_DIGEST, token)).status == 200
    return token


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    "more",
    [
        (),
        (f'If-None-Match: "{ETAG}"',),
        ('If-None-Match: "sha256:other"',),
        ("Connection: close",),
        ("Authorization: Basic eDp5",),
    ],
)
async def test_an_answer_from_memory_is_the_usual_answer(
    world: ProxyWorld, token: Secret, method: str, more: tuple[str, ...]
) -> None:
    async with line_to(world.surface) as express, line_to(Slow(world)) as usual:
        heard = await express.ask(token, *more, method=method)
        expected = await usual.ask(token, *more, method=method)
    for each in (heard, expected):
        each.headers.pop(b"x-request-id", None)
    assert heard.status == expected.status
    assert heard == replace(expected, body=heard.body)
    if heard.status.split()[1] == b"200" and method == "GET":
        assert heard.body == expected.body == MANIFEST


async def test_a_revoked_token_is_refused_in_the_middle_of_a_connection(
    world: ProxyWorld, token: Secret
) -> None:
    async with line_to(world.surface) as line:
        assert (await line.ask(token)).body == MANIFEST
        world.delete(f"access.{ACCESS_ID}")
        assert (await line.ask(token)).status.split()[1] == b"401"
        assert (await line.ask(None)).status.split()[1] == b"401"


async def test_many_requests_at_once_are_answered_in_their_order(world: ProxyWorld, token: Secret) -> None:
    async with line_to(world.surface) as line:
        absent = request(token).replace(ETAG, "no-such-tag")
        line.say((request(token) * 20 + absent) * 30)
        statuses = [(await line.hear()).status.split()[1] for _ in range(21 * 30)]
    assert statuses == ([b"200"] * 20 + [b"404"]) * 30


async def test_a_header_that_would_end_its_line_is_not_written(world: ProxyWorld) -> None:
    async with line_to(Injecting(world)) as line:
        heard = await line.ask(world.access())
    assert b"x-more" not in heard.headers


class Injecting(Slow):
    """Believes to have an answer in memory."""

    def at_once(self, _scope: Scope) -> Reply:
        return Reply(200, [(b"content-type", b"text/plain\r\nx-more: 1"), (b"content-length", b"0")])
