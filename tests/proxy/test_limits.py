"""One client cannot take what others need: places at upstreams, requests, connections, time."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest

from tests.proxy.proxy_world import basic, proxy_world
from tests.proxy.test_http_server import served
from tests.proxy.test_pulls import BLOB, BY_TAG, LAYER, MANIFEST, holding
from tests.support.fake_server import Reply, Seen
from tests.support.full import is_full
from tests.support.wait import eventually
from vreg_proxy.distribution.replies import Send, json_reply
from vreg_proxy.distribution.sending import LEAST_BYTES_PER_SECOND, SEND_SECONDS, patience_left
from vreg_proxy.door import RESERVE, Door, Place
from vreg_proxy.limits import ClientLimit, address_of, asking_client
from vreg_proxy.turns import NO_TURN, Turns
from vreg_proxy.wiring import Limits

DRIPPERS = 500 if is_full() else 100


class Crowd:
    """Clients at one upstream's door."""

    def __init__(self, places: int) -> None:
        self.hits = 0
        self.turns = Turns(places, self._hit)
        self.order: list[str] = []
        self._inside: list[tuple[str, asyncio.Event]] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def _hit(self) -> None:
        self.hits += 1

    async def comes(self, client: str) -> asyncio.Task[None]:
        task = asyncio.create_task(self._visit(client))
        self._tasks.add(task)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return task

    async def one_leaves(self) -> None:
        self._inside.pop(0)[1].set()
        for _ in range(5):
            await asyncio.sleep(0)

    async def _visit(self, client: str) -> None:
        asking_client.set(client)
        done = asyncio.Event()
        async with self.turns.turn("a") as no_turn:
            if no_turn is None:
                self.order.append(client)
                self._inside.append((client, done))
                await done.wait()

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def test_no_client_gets_all_places_of_an_upstream() -> None:
    crowd = Crowd(places=4)
    for _ in range(6):
        await crowd.comes("greedy")
    assert crowd.order == ["greedy"] * 3
    await crowd.comes("modest")
    assert crowd.order == ["greedy"] * 3 + ["modest"]
    await crowd.end()


async def test_those_who_wait_get_places_in_turn() -> None:
    crowd = Crowd(places=1)
    for client in ("a", "a", "a", "b", "c"):
        await crowd.comes(client)
    for _ in range(4):
        await crowd.one_leaves()
    assert crowd.order == ["a", "a", "b", "c", "a"]
    await crowd.end()


async def test_who_leaves_the_queue_takes_no_place_with_him() -> None:
    crowd = Crowd(places=1)
    await crowd.comes("a")
    waiting = await crowd.comes("b")
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await crowd.one_leaves()
    await crowd.comes("c")
    assert crowd.order == ["a", "c"]
    await crowd.end()


async def test_a_place_given_to_somebody_who_leaves_at_that_moment_is_given_on() -> None:
    crowd = Crowd(places=1)
    await crowd.comes("a")
    leaving = await crowd.comes("b")
    await crowd.comes("c")
    crowd._inside.pop(0)[1].set()  # noqa: SLF001 - the very moment: no loop turn between place and leaving
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    await eventually(lambda: crowd.order == ["a", "c"])
    await crowd.end()


async def test_waiting_for_a_place_ends_with_an_honest_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vreg_proxy.turns.TURN_SECONDS", 0)
    crowd = Crowd(places=1)
    await crowd.comes("a")
    async with crowd.turns.turn("a") as no_turn:
        assert no_turn is not None
        assert no_turn.reason == NO_TURN
    assert crowd.hits == 1
    await crowd.end()


def test_a_client_has_so_many_requests_and_no_more() -> None:
    hits: list[bool] = []
    limit = ClientLimit(2, lambda: hits.append(True))
    assert [limit.enter(client) for client in ("a", "a", "a", "b")] == [True, True, False, True]
    limit.leave("a")
    assert limit.enter("a")
    assert len(hits) == 1


@pytest.mark.parametrize(
    ("peer", "client"),
    [
        (("192.0.2.1", 5), "192.0.2.1"),
        (("2001:db8::1:2", 5), "2001:db8::/64"),
        (("2001:db8::ffff", 5), "2001:db8::/64"),
        (("::ffff:192.0.2.1", 5), "192.0.2.1"),
        (("fe80::1%eth0", 5), "fe80::/64"),
        (None, "unknown"),
    ],
)
def test_an_address_stands_for_who_has_no_token(peer: tuple[str, int] | None, client: str) -> None:
    assert address_of(peer) == client


def stalling(seen: Seen) -> Reply | None:
    """Begin blobs and never end them."""
    return Reply(body=LAYER, cut=200_000, stall=True) if "/blobs/" in seen.path else None


async def test_a_client_with_too_many_pulls_is_asked_to_wait_and_no_other_is(tmp_path: Path) -> None:
    async with proxy_world(tmp_path, limits=Limits(client_requests=1)) as world:
        registry = holding()
        registry.override = stalling
        server = await world.upstream("a", registry)
        world.registry("main", "a")
        greedy, modest = world.access(), world.access("01HZZZZZZZZZZZZZZZZZZZZZZ1")
        pulling = asyncio.create_task(world.get(BLOB, greedy))
        await eventually(lambda: server.seen)

        refused = await world.get(BY_TAG, greedy)
        assert (refused.status, refused.error_code(), refused.reason()) == (
            429,
            "TOOMANYREQUESTS",
            "client_busy",
        )
        assert int(refused.headers["retry-after"]) > 0
        served = await world.get(BY_TAG, modest)
        assert (served.status, served.body) == (200, MANIFEST)
        assert (await world.get(BY_TAG, greedy)).status == 200, "what is ready in memory costs no place"
        pulling.cancel()
        await asyncio.gather(pulling, return_exceptions=True)
        assert (await world.get("/v2/main/team/app/tags/list", greedy)).status == 200


async def test_an_upstream_with_all_places_taken_is_not_an_upstream_that_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vreg_proxy.turns.TURN_SECONDS", 0.01)
    async with proxy_world(tmp_path, limits=Limits(upstream_fills=1)) as world:
        registry = holding()
        registry.override = stalling
        other = registry.add_blob("team/app", b"another")
        server = await world.upstream("a", registry)
        world.registry("main", "a")
        token = world.access()
        pulling = asyncio.create_task(world.get(BLOB, token))
        await eventually(lambda: server.seen)

        for _ in range(4):
            refused = await world.get(f"/v2/main/team/app/blobs/{other}", token)
            assert (refused.status, refused.reason()) == (429, NO_TURN)
            assert int(refused.headers["retry-after"]) > 0
        assert (await world.get(BY_TAG, token)).status == 200
        pulling.cancel()
        await asyncio.gather(pulling, return_exceptions=True)


class Dripping(asyncio.Protocol):
    """A client that asks and then reads nothing."""

    def __init__(self, request: bytes) -> None:
        self._request = request

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.pause_reading()
        transport.write(self._request)


async def test_clients_that_drip_disturb_neither_others_nor_a_fill(tmp_path: Path) -> None:
    layer = b"x" * 8_000_000
    async with proxy_world(tmp_path) as world, AsyncExitStack() as stack:
        registry = holding()
        cached, cold = registry.add_blob("team/app", layer), registry.add_blob("team/app", layer + b"!")
        await world.upstream("a", registry)
        world.registry("main", "a")
        dripper, puller = world.access(), world.access("01HZZZZZZZZZZZZZZZZZZZZZZ1")
        blob = f"/v2/main/team/app/blobs/{cached}"
        assert (await world.get(blob, puller)).is_complete
        port = await stack.enter_async_context(served(world.surface))
        request = f"GET {blob} HTTP/1.1\r\nHost: x\r\nAuthorization: {basic('any', dripper)}\r\n\r\n".encode()
        loop = asyncio.get_running_loop()
        for _ in range(DRIPPERS):
            transport, _ = await loop.create_connection(lambda: Dripping(request), "127.0.0.1", port)
            stack.callback(transport.abort)

        client = await stack.enter_async_context(
            httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{port}", headers={"authorization": basic("any", puller)}
            )
        )
        for path, body in (
            (BY_TAG, MANIFEST),
            (blob, layer),
            (f"/v2/main/team/app/blobs/{cold}", layer + b"!"),
        ):
            answer = await client.get(path)
            assert (answer.status_code, answer.content == body) == (200, True)


async def said_at_once(port: int, path: str) -> bytes:
    """Return all that is said on a connection of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    said = await reader.read()
    writer.close()
    return said


def test_one_address_has_half_of_the_connections_and_half_of_the_reserve() -> None:
    door = Door(max_connections=10)
    greedy = [door.enter("a") for _ in range(100)]
    assert greedy == [Place.ANYTHING] * 5 + [Place.HEALTH] * (RESERVE // 2) + [Place.NOTHING] * 87
    assert door.enter("b") is Place.ANYTHING
    for place in greedy:
        door.leave("a", place)
    assert door.enter("a") is Place.ANYTHING
    assert door.connections == 2


async def test_a_worker_with_too_many_connections_refuses_more_and_keeps_those_it_has() -> None:
    door = Door(max_connections=2)

    async def answer(_scope: object, _receive: object, send: Send) -> None:
        await json_reply(200, {}).send(send)

    async with served(answer, door) as port:
        request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
        kept = [
            await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))
            for address in ("127.0.0.1", "127.0.0.2")
        ]
        await eventually(lambda: door.connections == 2)
        refused = await said_at_once(port, "/v2/")
        assert refused.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: 5" in refused
        assert door.turned_away == 1
        for path in ("/livez", "/readyz"):
            well = await said_at_once(port, path)
            assert well.startswith(b"HTTP/1.1 200 ")
            assert b"connection: close" in well
        for reader, writer in kept:
            writer.write(request)
            assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
            writer.close()
        await eventually(lambda: not door.connections)


async def test_while_the_door_closes_every_answer_ends_its_connection() -> None:
    door = Door(max_connections=2)

    async def answer(_scope: object, _receive: object, send: Send) -> None:
        await json_reply(200, {}).send(send)

    async with served(answer, door) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        door.is_closing = True
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 2)
        said = await reader.read()
        writer.close()
    assert said.count(b"HTTP/1.1 200 ") == 1
    assert b"connection: close" in said


def test_a_trickling_client_uses_up_our_patience_and_a_slow_one_does_not() -> None:
    def lasts(bytes_per_second: int) -> bool:
        left = SEND_SECONDS
        for _ in range(1000):
            left = patience_left(left, 10.0, bytes_per_second * 10)
        return left > 10.0

    assert lasts(LEAST_BYTES_PER_SECOND)
    assert lasts(10_000_000)
    assert not lasts(LEAST_BYTES_PER_SECOND // 2)
    assert not lasts(0)
