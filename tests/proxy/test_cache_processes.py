"""Several worker processes and one cache folder: one request, and no death that harms anyone."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.support.cache_worker import HOME, CacheWorker, Pull
from tests.support.wait import eventually
from vreg_proxy.cache import Origin
from vreg_proxy.cache.fill_record import FillFiles, has_followers
from vreg_shared.oci.digest import Digest

MIB = 1024 * 1024
KILLS = 30
START = Callable[[], CacheWorker]


class World:
    """A cache folder, an upstream folder, and the workers started so far."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "cache"
        self.upstream = folder / "upstream"
        self.upstream.mkdir()
        self.workers: list[CacheWorker] = []
        self.random = random.Random(7)  # noqa: S311 - only has to be repeatable

    def start(self) -> CacheWorker:
        worker = CacheWorker(self.root, self.upstream)
        self.workers.append(worker)
        return worker

    def blob(self, name: str, size: int) -> Digest:
        content = self.random.randbytes(size)
        (self.upstream / name).write_bytes(content)
        return Digest.of(content)

    def asked(self, start: str = "") -> list[str]:
        path = self.upstream / "asked"
        lines = path.read_text().splitlines() if path.exists() else []
        return [line for line in lines if line.startswith(start)]

    def hold(self, position: int) -> None:
        fresh = self.upstream / "hold.new"
        fresh.write_text(str(position))
        fresh.rename(self.upstream / "hold")

    def release(self) -> None:
        (self.upstream / "hold").unlink()

    def filled(self, digest: Digest) -> int:
        part = FillFiles.of(self.root / "filling", digest, HOME).part
        return part.stat().st_size if part.exists() else 0

    def is_followed(self, digest: Digest) -> bool:
        return has_followers(FillFiles.of(self.root / "filling", digest, HOME).part)

    def left_over(self) -> list[str]:
        return [path.name for path in (self.root / "filling").iterdir()]

    def bad_content(self) -> list[str]:
        files = [path for path in (self.root / "content").rglob("*") if path.is_file()]
        return [path.name for path in files if Digest.of(path.read_bytes()).hex != path.name]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path)
    yield made
    for worker in made.workers:
        await worker.stop()


async def test_a_hundred_cold_clients_of_two_processes_cause_one_request(world: World) -> None:
    digest = world.blob("layer", 6 * MIB)
    pull = Pull("layer", digest, clients=50)
    first, second = world.start(), world.start()
    answers = await asyncio.gather(first.pull(pull), second.pull(pull))
    assert [*answers[0], *answers[1]] == [str(digest)] * 100
    assert world.asked() == ["GET layer 0"]
    assert world.left_over() == []


async def test_the_other_process_needs_its_own_right_to_join(world: World) -> None:
    digest = world.blob("layer", 2 * MIB)
    world.hold(MIB)
    first, second = world.start(), world.start()
    first.send(Pull("layer", digest))
    await eventually(lambda: world.filled(digest) == MIB)
    absent = await second.pull(Pull("layer", digest, origin=Origin("upstream-1", 0, "absent")))
    assert absent == ["blob_unknown"]
    second.send(Pull("layer", digest, clients=5, origin=Origin("upstream-1", 0, "team/web")))
    await eventually(lambda: len(world.asked("HEAD")) == 2)
    world.release()
    assert await second.answer() == [str(digest)] * 5
    assert await first.answer() == [str(digest)]
    assert world.asked("GET") == ["GET layer 0"]


async def test_an_answer_of_absent_reaches_the_clients_of_both_processes(world: World) -> None:
    digest = world.blob("layer", 10)
    pull = Pull("layer", digest, clients=20, origin=Origin("upstream-1", 0, "absent"))
    first, second = world.start(), world.start()
    answers = await asyncio.gather(first.pull(pull), second.pull(pull))
    assert {*answers[0], *answers[1]} == {"blob_unknown"}
    assert len(world.asked("GET")) <= 2


async def test_wrong_bytes_reach_the_readers_of_both_processes_as_a_failure(world: World) -> None:
    digest = world.blob("layer", 2 * MIB)
    (world.upstream / "layer").write_bytes(bytes(2 * MIB))
    world.hold(MIB)
    first, second = world.start(), world.start()
    first.send(Pull("layer", digest))
    await eventually(lambda: world.filled(digest) == MIB)
    second.send(Pull("layer", digest, clients=3))
    await eventually(lambda: world.is_followed(digest))
    world.release()
    assert await first.answer() == ["interrupted: digest_mismatch"]
    assert await second.answer() == ["interrupted: digest_mismatch"] * 3
    await eventually(lambda: world.left_over() == [])
    assert world.bad_content() == []


async def test_a_dead_owner_is_replaced_and_its_bytes_are_kept(world: World) -> None:
    digest = world.blob("layer", 4 * MIB)
    world.hold(2 * MIB)
    first, second = world.start(), world.start()
    first.send(Pull("layer", digest))
    await eventually(lambda: world.filled(digest) == 2 * MIB)
    second.send(Pull("layer", digest, clients=10))
    await eventually(lambda: world.is_followed(digest))
    await asyncio.to_thread(first.kill)
    await eventually(lambda: len(world.asked()) == 2)
    world.release()
    assert await second.answer() == [str(digest)] * 10
    assert world.asked() == ["GET layer 0", f"GET layer {2 * MIB}"]


async def test_a_follower_keeps_the_fill_of_a_client_that_left(world: World) -> None:
    digest = world.blob("layer", 20 * MIB)
    world.hold(MIB)
    first, second = world.start(), world.start()
    first.send(Pull("layer", digest))
    await eventually(lambda: world.filled(digest) == MIB)
    second.send(Pull("layer", digest))
    await eventually(lambda: world.is_followed(digest))
    await asyncio.to_thread(first.kill)
    third = world.start()
    await eventually(lambda: len(world.asked()) == 2)
    third.send(Pull("layer", digest))
    world.release()
    assert await second.answer() == [str(digest)]
    assert await third.answer() == [str(digest)]
    assert len(world.asked()) == 2


async def test_kills_at_any_moment_harm_nobody_else(world: World) -> None:
    survivor = world.start()
    for number in range(KILLS):
        size = world.random.randrange(1, 600_000)
        name = f"layer-{number}"
        digest = world.blob(name, size)
        held = world.random.randrange(size)
        world.hold(held)
        victim = world.start()
        victim.send(Pull(name, digest, clients=2))
        await eventually(
            lambda name=name, digest=digest, held=held: (
                world.asked(f"GET {name} ") and world.filled(digest) >= held
            )
        )
        follows = world.random.random() < 0.5
        if follows:
            survivor.send(Pull(name, digest, clients=2))
        if world.random.random() < 0.3:
            world.hold(1 << 40)
        await asyncio.to_thread(victim.kill)
        world.release()
        answer = await (survivor.answer() if follows else survivor.pull(Pull(name, digest, clients=2)))
        assert answer == [str(digest)] * 2
    assert world.bad_content() == []
    assert world.left_over() == []


async def test_a_start_sweeps_up_after_the_dead_but_not_after_the_living(world: World) -> None:
    world.hold(1000)
    dead, alive = world.blob("dead", 2000), world.blob("alive", 2000)
    victim, living = world.start(), world.start()
    victim.send(Pull("dead", dead))
    living.send(Pull("alive", alive))
    await eventually(lambda: world.filled(dead) == world.filled(alive) == 1000)
    await asyncio.to_thread(victim.kill)
    fresh = world.start()
    await eventually(lambda: len(world.left_over()) == 2)
    world.release()
    assert await living.answer() == [str(alive)]
    assert await fresh.pull(Pull("dead", dead)) == [str(dead)]
    assert world.asked("GET dead") == ["GET dead 0"] * 2
