"""Several worker processes and one cache folder: one request, and no death that harms anyone."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.cache_folder import CacheFolder
from tests.support.cache_worker import Pull
from tests.support.wait import eventually
from vreg_proxy.cache import Origin

MIB = 1024 * 1024


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[CacheFolder]:
    made = CacheFolder(tmp_path)
    yield made
    await made.stop()


async def test_a_hundred_cold_clients_of_two_processes_cause_one_request(world: CacheFolder) -> None:
    digest = world.blob("layer", 6 * MIB)
    pull = Pull("layer", digest, clients=50)
    first, second = world.start(), world.start()
    answers = await asyncio.gather(first.pull(pull), second.pull(pull))
    assert [*answers[0], *answers[1]] == [str(digest)] * 100
    assert world.asked() == ["GET layer 0"]
    assert world.left_over() == []


async def test_the_other_process_needs_its_own_right_to_join(world: CacheFolder) -> None:
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


async def test_an_answer_of_absent_reaches_the_clients_of_both_processes(world: CacheFolder) -> None:
    digest = world.blob("layer", 10)
    pull = Pull("layer", digest, clients=20, origin=Origin("upstream-1", 0, "absent"))
    first, second = world.start(), world.start()
    answers = await asyncio.gather(first.pull(pull), second.pull(pull))
    assert {*answers[0], *answers[1]} == {"blob_unknown"}
    assert len(world.asked("GET")) <= 2


async def test_wrong_bytes_reach_the_readers_of_both_processes_as_a_failure(world: CacheFolder) -> None:
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


async def test_a_dead_owner_is_replaced_and_its_bytes_are_kept(world: CacheFolder) -> None:
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


async def test_a_follower_keeps_the_fill_of_a_client_that_left(world: CacheFolder) -> None:
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


async def test_a_start_sweeps_up_after_the_dead_but_not_after_the_living(world: CacheFolder) -> None:
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
