"""F16: an upstream that is down. What is cached is served, the rest fails fast, and it comes back itself."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.edition import IS_FULL, amount
from tests.faults.figures import milliseconds, p99, tell
from tests.faults.history import History, Pull, failures, recorded, unexplained
from tests.faults.pull_path import Client, PullPath, pull_path
from tests.proxy.proxy_process import Keys
from tests.support.fake_registry import image_manifest
from tests.support.toxics import Toxic
from tests.support.wait import eventually

LAYER = b"layer " * 50_000
MANIFEST = image_manifest(LAYER)
PULLS = amount(20, 500)


async def _refuse(path: PullPath) -> None:
    await path.only.toxics.refuse()


async def _black_hole(path: PullPath) -> None:
    path.only.toxics.reset_all()
    await _silence(path)


async def _silence(path: PullPath) -> None:
    path.only.toxics.afflict(down=Toxic(is_black_hole=True), up=Toxic(is_black_hole=True))


async def _break_tls(path: PullPath) -> None:
    path.only.toxics.reset_all()
    path.only.toxics.afflict(down=Toxic(flip_at=20))


OUTAGES = {"refused": _refuse, "black hole": _black_hole, "broken TLS": _break_tls}
if IS_FULL:
    OUTAGES["silent in open connections"] = _silence


@dataclass(frozen=True)
class _Outage:
    """Pulls of what was cached before and during it, and of what was not: the first, and then; in seconds."""

    usual: list[Pull]
    first: Pull
    stale: list[Pull]
    held: list[Pull]
    missing: list[Pull]
    probes: int
    recovery: float


@pytest.mark.parametrize("outage", OUTAGES)
async def test_an_outage_takes_nothing_that_is_cached_and_ends_by_itself(
    tmp_path: Path, keys: Keys, outage: str
) -> None:
    make_unwell = OUTAGES[outage]
    with recorded(tmp_path) as history:
        async with _warmed(tmp_path, keys, history) as (path, client):
            digest = path.only.add_manifest("1", MANIFEST)
            layer = path.only.add_blob(LAYER)
            for pull in (await client.manifest("1"), await client.blob(layer)):
                assert pull.is_right, pull
            path.only.add_manifest("2", image_manifest(b"nobody has pulled this"))
            usual = [await client.manifest(digest) for _ in range(PULLS)]

            with history.fault(outage):
                await make_unwell(path)
                first = await client.manifest("2")
                assert (first.status, first.problem) == (503, "UNAVAILABLE"), first
                await eventually(lambda: _fails_unasked(path, client), deadline=60)
                probes = path.only.toxics.connections
                stale = [await client.manifest("1") for _ in range(PULLS)]
                held = [pull for _ in range(PULLS) for pull in await _both(client, digest, layer)]
                missing = [await client.manifest("2") for _ in range(PULLS)]
            probes = path.only.toxics.connections - probes

            assert all(pull.is_right and pull.is_stale and pull.digest == digest for pull in stale)
            assert all(pull.is_right and not pull.is_stale for pull in held)
            assert {(pull.status, pull.problem) for pull in missing} == {(503, "UNAVAILABLE")}
            assert not unexplained(history, 503)
            path.only.toxics.heal()
            if outage == "refused":
                await path.only.toxics.listen()
            began = asyncio.get_running_loop().time()
            await eventually(lambda: _is_pulled(client, "2"), deadline=30)
            recovery = asyncio.get_running_loop().time() - began
            _tell(outage, _Outage(usual, first, stale, held, missing, probes, recovery))


async def test_many_who_ask_of_an_upstream_that_is_down_are_one_question(tmp_path: Path, keys: Keys) -> None:
    with recorded(tmp_path) as history:
        async with _warmed(tmp_path, keys, history) as (path, client):
            with history.fault("black hole"):
                await _black_hole(path)
                answers = await asyncio.gather(*(client.manifest("none") for _ in range(PULLS)))
    assert {answer.status for answer in answers} == {503}
    assert not [answer for answer in failures(history) if answer.status != 503]


async def test_what_one_upstream_suffers_the_others_do_not_notice(tmp_path: Path, keys: Keys) -> None:
    """F17 too: one is slower than any client would wait for, and is read on for as long as bytes come."""
    with recorded(tmp_path) as history:
        async with (
            pull_path(tmp_path, keys, history, others=("slow", "dead")) as path,
            path.client("slow", "slow") as slow,
            path.client("dead", "dead") as dead,
            path.client("well", "main") as well,
        ):
            slow_blob = path.upstreams["slow"].add_blob(b"slow" * 2000)
            blobs = [path.only.add_blob(b"%d" % number * 10_000) for number in range(PULLS)]
            path.upstreams["slow"].toxics.afflict(down=Toxic(rate=amount(4000, 1000), piece=100))
            path.upstreams["dead"].toxics.afflict(up=Toxic(is_black_hole=True))
            usual = [await well.blob(digest) for digest in blobs[: PULLS // 2]]
            with history.fault("neighbours"):
                waiting = asyncio.create_task(slow.blob(slow_blob))
                hanging = asyncio.create_task(dead.manifest("1"))
                await eventually(lambda: path.upstreams["slow"].toxics.connections)
                unmoved = [await well.blob(digest) for digest in blobs[PULLS // 2 :]]
                assert not hanging.done()
                assert (await waiting).is_right
            assert all(pull.is_right for pull in (*usual, *unmoved))
            hanging.cancel()
            for name, pulls in (("before", usual), ("beside a slow and a dead one", unmoved)):
                tell("F17", f"cold pull p99 {name}", milliseconds(p99([p.seconds for p in pulls])), "alike")


@asynccontextmanager
async def _warmed(folder: Path, keys: Keys, history: History) -> AsyncIterator[tuple[PullPath, Client]]:
    async with pull_path(folder, keys, history) as path, path.client() as client:
        yield path, client


async def _both(client: Client, manifest: str, blob: str) -> tuple[Pull, Pull]:
    return await client.manifest(manifest), await client.blob(blob)


async def _fails_unasked(path: PullPath, client: Client) -> bool:
    """Whether the breaker is open: the answer comes without a connection to the upstream."""
    before = path.only.toxics.connections
    pull = await client.manifest("2")
    return pull.status == 503 and path.only.toxics.connections == before


async def _is_pulled(client: Client, tag: str) -> bool:
    return (await client.manifest(tag)).is_right


def _tell(outage: str, seen: _Outage) -> None:
    cached = (*seen.stale, *seen.held)
    right = sum(pull.is_right for pull in cached)
    tell("G9", f"{outage}: cached pulls that succeeded", f"{right} of {len(cached)}", "100 %")
    overhead = max(_slowest(seen.stale), _slowest(seen.held)) - _slowest(seen.usual)
    tell("G9", f"{outage}: overhead on cached, breaker open, p99", milliseconds(overhead), "≤ 10 ms")
    tell(
        "G9", f"{outage}: uncached error, breaker open, p99", milliseconds(_slowest(seen.missing)), "≤ 50 ms"
    )
    tell("G9", f"{outage}: uncached error, breaker closed", milliseconds(seen.first.seconds), "≤ 5 s")
    span = seen.missing[-1].ended - seen.stale[0].began
    tell("G9", f"{outage}: probes in {span:.1f} s of open breaker", seen.probes, "1 every 5 s")
    tell("G9", f"{outage}: recovery", f"{seen.recovery:.1f} s", "≤ 6 s")


def _slowest(pulls: list[Pull]) -> float:
    return p99([pull.seconds for pull in pulls])
