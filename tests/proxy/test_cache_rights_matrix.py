"""A digest that another upstream's clients may read is, to everybody else, a digest nobody ever heard of."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.proxy.proxy_world import Answer, ProxyWorld, proxy_world
from tests.support.fake_registry import FakeRegistry, image_manifest
from tests.support.fake_server import SILENCE, FakeServer, Reply, Seen
from tests.support.wait import eventually
from vreg_shared.oci.digest import Digest

SECRET = b"secret layer " * 100_000
MANIFEST = image_manifest(SECRET)
OF = {"blobs": Digest.of(SECRET), "manifests": Digest.of(MANIFEST), "referrers": Digest.of(MANIFEST)}
UNKNOWN = Digest.of(b"nobody has this")
ASKS = {"HEAD": ("HEAD", {}), "GET": ("GET", {}), "Range": ("GET", {"range": "bytes=5-99"})}
STATES = ("cold", "filling", "cached", "evicted")
CHANGING = {"x-request-id", "date"}


def registry_of_a(*, stalls: bool) -> FakeRegistry:
    """Return a registry that has everything, and may stop in the middle of it."""

    def stalling(seen: Seen) -> Reply | None:
        if "/blobs/" in seen.path and seen.method == "GET":
            return Reply(200, (), SECRET, cut=len(SECRET) // 2, stall=True)
        return SILENCE if "/manifests/" in seen.path else None

    registry = FakeRegistry(override=stalling if stalls else None)
    registry.add_manifest("team/app", "1", MANIFEST)
    registry.add_blob("team/app", SECRET)
    return registry


@asynccontextmanager
async def brought_to(
    state: str, world: ProxyWorld, of_a: FakeServer, path: str, folder: Path
) -> AsyncIterator[None]:
    """Let A's client bring the digest into this state."""
    token = world.access()
    if state == "filling":
        pull = asyncio.create_task(world.get(path, token))
        await eventually(lambda: of_a.seen or pull.done())
        yield
        pull.cancel()
        return
    if state != "cold":
        await world.get(path, token)
        await world.get("/v2/a/team/app/manifests/1", token)
    if state == "evicted":
        for file in (folder / "content").glob("*/*/*"):
            file.unlink()
    yield


def comparable(answer: Answer, digest: Digest) -> tuple[int, dict[str, str], bytes, bool]:
    """Return everything but what differs between any two answers."""
    headers = {name: value for name, value in answer.headers.items() if name not in CHANGING}
    return answer.status, headers, answer.body.replace(str(digest).encode(), b"*"), answer.is_complete


def questions(server: FakeServer, digest: Digest) -> list[tuple[str, str | None]]:
    """Return where an upstream was asked about a digest, and with what credential.

    Bytes that are here already cost it a HEAD instead of a GET: that much it may see, its clients do not.
    """
    return [
        (seen.path.replace(str(digest), "*"), seen.headers.get("authorization"))
        for seen in server.seen
        if str(digest) in seen.path
    ]


@pytest.mark.parametrize(("kind", "ask", "state"), list(itertools.product(OF, ASKS, STATES)))
async def test_b_learns_nothing_of_what_a_has(tmp_path: Path, kind: str, ask: str, state: str) -> None:
    digest, (method, headers) = OF[kind], ASKS[ask]
    async with proxy_world(tmp_path) as world:
        of_a = await world.upstream("a", registry_of_a(stalls=state == "filling"))
        of_b = await world.upstream("b", FakeRegistry())
        world.registry("a", "a")
        world.registry("b", "b")
        token = world.access("01HZZZZZZZZZZZZZZZZZZZZZZ1")
        async with brought_to(state, world, of_a, f"/v2/a/team/app/{kind}/{digest}", tmp_path):
            asked_of_a = list(of_a.seen)
            paths = [f"/v2/b/team/app/{kind}/{each}" for each in (digest, UNKNOWN)]
            known, unknown = [await world.get(path, token, method=method, headers=headers) for path in paths]
            assert of_a.seen == asked_of_a
        # Of what nobody has, nothing refers to it: that is an empty list, not an absence.
        assert known.status == (200 if kind == "referrers" else 404)
        assert comparable(known, digest) == comparable(unknown, UNKNOWN)
        assert questions(of_b, digest) == questions(of_b, UNKNOWN)


async def test_a_itself_reads_all_of_it_in_every_state(tmp_path: Path) -> None:
    for state in ("cold", "cached", "evicted"):
        async with proxy_world(tmp_path / state) as world:
            of_a = await world.upstream("a", registry_of_a(stalls=False))
            world.registry("a", "a")
            for kind, body in (("blobs", SECRET), ("manifests", MANIFEST)):
                path = f"/v2/a/team/app/{kind}/{OF[kind]}"
                async with brought_to(state, world, of_a, path, tmp_path / state):
                    assert (await world.get(path, world.access())).body == body
