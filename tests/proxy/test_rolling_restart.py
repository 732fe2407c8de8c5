"""Proxies are restarted one after the other, and those who pull through a balancer notice nothing."""

import asyncio
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import httpx
import pytest

from tests.proxy.proxy_process import Keys, ProxyProcess, is_alive, proxy_process, was_here_before
from tests.proxy.test_proxy_process import HEADERS, records
from tests.support.fake_registry import FakeRegistry, image_manifest
from tests.support.fake_server import serving
from tests.support.full import is_full
from tests.support.nats_server import UserNkey
from tests.support.registry_world import AUTHORITY
from tests.support.wait import eventually
from vreg_shared.key_files import Service
from vreg_shared.oci.digest import Digest

LAYER = b"0123456789abcdef" * 200_000
LARGE = b"larger than what sockets hold. " * 1_000_000
MANIFEST = image_manifest(LAYER)
BLOB = f"/v2/main/team/app/blobs/{Digest.of(LAYER)}"
BY_TAG = "/v2/main/team/app/manifests/1"
ROUNDS = 10 if is_full() else 1
PULLERS = 50 if is_full() else 12
LOOK_SECONDS = 0.1


def holding() -> FakeRegistry:
    registry = FakeRegistry()
    registry.add_manifest("team/app", "1", MANIFEST)
    registry.add_blob("team/app", LAYER)
    registry.add_blob("team/app", LARGE)
    return registry


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys.make(tmp_path / "keys", {service: UserNkey.generate().seed for service in Service})


@asynccontextmanager
async def proxies(folder: Path, keys: Keys, count: int, **more: str) -> AsyncIterator[list[ProxyProcess]]:
    """Run proxies of one upstream, which need no bus because they know it already."""
    async with AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(serving(holding(), AUTHORITY))
        running = []
        for number in range(count):
            home = folder / f"proxy-{number}"
            home.mkdir()
            was_here_before(home, keys, records(upstream.authority))
            running.append(
                await stack.enter_async_context(proxy_process(home, keys, VREG_PROXY_WORKERS="2", **more))
            )
        yield running


class Balancer:
    """Sends each request to a proxy that says it is ready, and to another when the first lets nobody in.

    What was begun is never tried again: an answer that ends early counts as broken.
    """

    def __init__(self, running: Sequence[ProxyProcess]) -> None:
        self._running = running
        self._ready: set[str] = set()
        self.pulled = 0
        self.broken: list[str] = []

    async def look(self) -> None:
        """Ask for ever who is ready."""
        async with aiohttp.ClientSession() as session:
            while True:
                for proxy in self._running:
                    await self._ask(session, proxy.url)
                await asyncio.sleep(LOOK_SECONDS)

    async def _ask(self, session: aiohttp.ClientSession, url: str) -> None:
        self_ready = False
        with suppress(aiohttp.ClientError):
            async with session.get(f"{url}/readyz") as answer:
                self_ready = answer.status == httpx.codes.OK
        (self._ready.add if self_ready else self._ready.discard)(url)

    async def pull_on(self) -> None:
        """Pull for ever, on connections that are kept."""
        async with aiohttp.ClientSession(headers=HEADERS) as session:
            while True:
                try:
                    assert await self._get(session, BY_TAG) == MANIFEST
                    assert await self._get(session, BLOB) == LAYER
                    self.pulled += 1
                except (aiohttp.ClientError, AssertionError) as error:
                    self.broken.append(f"{type(error).__name__}: {error}")

    async def _get(self, session: aiohttp.ClientSession, path: str) -> bytes:
        for url in sorted(proxy.url for proxy in self._running if proxy.url in self._ready):
            with suppress(aiohttp.ClientConnectorError):
                async with session.get(url + path) as answer:
                    answer.raise_for_status()
                    return await answer.read()
        raise AssertionError("no proxy lets anybody in")

    async def more(self, count: int) -> None:
        """Wait for so many more pulls."""
        wanted = self.pulled + count
        await eventually(lambda: self.pulled >= wanted or self.broken, deadline=60)


@pytest.mark.timeout(3600 if is_full() else 300)
async def test_a_rolling_restart_breaks_no_stream(tmp_path: Path, keys: Keys) -> None:
    async with proxies(tmp_path, keys, count=2) as running:
        balancer = Balancer(running)
        tasks = [asyncio.create_task(balancer.look())]
        await eventually(lambda: len(balancer._ready) == len(running))  # noqa: SLF001 - its own test
        tasks += [asyncio.create_task(balancer.pull_on()) for _ in range(PULLERS)]
        for _ in range(ROUNDS):
            for proxy in running:
                await balancer.more(PULLERS)
                assert await proxy.end() == 0
                await balancer.more(PULLERS)
                await proxy.start()
        await balancer.more(PULLERS)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert not balancer.broken


async def test_a_proxy_told_to_end_says_so_first_and_refuses_later(tmp_path: Path, keys: Keys) -> None:
    async with (
        proxies(tmp_path, keys, count=1, VREG_PROXY_DRAIN_GRACE="5") as (proxy,),
        httpx.AsyncClient(headers=HEADERS) as client,
    ):
        workers = proxy.workers()
        path = f"{proxy.url}/v2/main/team/app/blobs/{Digest.of(LARGE)}"
        assert (await client.get(path)).content == LARGE
        async with client.stream("GET", path) as under_way:
            chunks = under_way.aiter_bytes()
            received = [await anext(chunks)]
            ending = asyncio.create_task(proxy.end())

            async def says_so() -> bool:
                async with httpx.AsyncClient() as stranger:
                    answer = await stranger.get(f"{proxy.url}/readyz")
                    late = await stranger.get(f"{proxy.url}{BY_TAG}", headers=HEADERS)
                assert late.content == MANIFEST, "whoever comes now is still served"
                return answer.status_code == 503 and late.headers["connection"] == "close"

            await eventually(says_so)

            async def refuses() -> bool:
                try:
                    async with httpx.AsyncClient() as stranger:
                        await stranger.get(f"{proxy.url}/readyz")
                except httpx.ConnectError:
                    return True
                except httpx.TransportError:
                    pass
                return False

            await eventually(refuses, deadline=30)
            assert not ending.done()
            received += [chunk async for chunk in chunks]
        assert b"".join(received) == LARGE
        assert await ending == 0
        assert not [pid for pid in workers if is_alive(pid)]


async def test_what_does_not_end_in_time_is_ended(tmp_path: Path, keys: Keys) -> None:
    (tmp_path / "proxy").mkdir()
    async with proxy_process(
        tmp_path / "proxy", keys, VREG_PROXY_DRAIN_GRACE="0", VREG_PROXY_DRAIN_LIMIT="1"
    ) as proxy:
        _, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n")
        assert await proxy.end(signal.SIGTERM) == 0
        writer.close()
