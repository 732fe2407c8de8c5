"""One active broker of several on a real bus: elected, followed when it falls, never undone by its ghost."""

import asyncio
import itertools
import os
import random
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.broker.bus_world import BusWorld, bus_world
from tests.broker.test_broker_on_the_bus import aws_identity, exchanges
from tests.broker.test_broker_process import process
from tests.broker.world import upstream
from tests.clouds.clouds import Clouds, clouds
from tests.clouds.scene import Scene, set_scene
from tests.support.clock import ManualClock
from tests.support.nats_server import running_nats_server
from tests.support.wait import eventually
from vreg_shared.bus import BusConflictError, BusUnavailableError, Entry
from vreg_shared.key_files import Service
from vreg_shared.signing import SigningKey
from vreg_token_broker.leadership import BUCKET, KEY, TENURE_SECONDS, Candidate, Leadership

TAKE_OVER_SECONDS = 7.0
PAIRS, KILLS = 4, 5


@dataclass
class FakeBus:
    """A bucket in memory; `fails` makes claims come to nothing, or be stored without an answer."""

    value: bytes | None = None
    revision: int = 0
    connected: bool = True
    fails: str = ""

    async def claim(self, bucket: str, key: str, value: bytes, *, revision: int, seconds: int) -> int:
        assert (bucket, key, seconds) == (BUCKET, KEY, TENURE_SECONDS)
        if self.fails == "unheard":
            raise BusUnavailableError("no answer")
        if revision != (self.revision if self.value is not None else 0):
            raise BusConflictError("changed meanwhile")
        self.revision += 1
        self.value = value
        if self.fails == "stored":
            raise BusUnavailableError("stored, but nobody says so")
        return self.revision

    async def tell(self, *all_: Leadership) -> None:
        """Let everybody hear who holds the key."""
        if self.value is not None:
            for each in all_:
                await each.heard(Entry(KEY, self.value, self.revision))


class Election:
    """Two candidates, a bus between them, and time that a test moves."""

    def __init__(self) -> None:
        self.bus, self.clock, self._key = FakeBus(), ManualClock(), SigningKey.generate()
        self.first, self.second = self.candidate("first"), self.candidate("second")

    def candidate(self, name: str) -> Leadership:
        """Return a broker that has just started; the same name is the same state folder."""
        return Leadership(self.bus, self._key, Candidate(name, f"holder of {name}"), self.clock)

    async def stand(self, who: Leadership) -> None:
        """Let a candidate stand once, as its own loop would."""
        running = asyncio.create_task(who.run())
        for _ in range(5):
            await asyncio.sleep(0)
        running.cancel()
        await self.bus.tell(self.first, self.second)


async def test_who_comes_first_leads_and_nobody_beside_him() -> None:
    election = Election()
    await election.stand(election.first)
    await election.stand(election.second)
    assert election.first.is_leading
    assert election.first.may_exchange
    assert not election.second.is_leading
    assert not election.second.may_exchange


async def test_a_claim_that_ended_is_free_for_another_and_its_holder_notices() -> None:
    election = Election()
    await election.stand(election.first)
    election.clock.advance(TENURE_SECONDS)
    election.bus.value = None
    assert not election.first.is_leading
    assert not election.first.may_exchange
    await election.stand(election.second)
    assert election.second.is_leading
    await election.stand(election.first)
    assert not election.first.is_leading
    await asyncio.wait_for(election.first.wait_deposed(), 1)


async def test_a_holder_whose_claim_ended_unnoticed_takes_it_again() -> None:
    election = Election()
    await election.stand(election.first)
    election.clock.advance(TENURE_SECONDS)
    election.bus.value = None
    await election.stand(election.first)
    assert election.first.is_leading


async def test_a_claim_that_was_stored_without_an_answer_is_recognised_as_ours() -> None:
    election = Election()
    await election.stand(election.first)
    election.bus.fails = "stored"
    await election.stand(election.first)
    election.bus.fails = ""
    await election.stand(election.first)
    assert election.first.is_leading
    election.clock.advance(TENURE_SECONDS - 1)
    assert election.first.is_leading


async def test_who_resigns_is_followed_at_once() -> None:
    election = Election()
    await election.stand(election.first)
    await election.first.resign()
    await election.bus.tell(election.first, election.second)
    assert not election.first.is_leading
    await election.stand(election.second)
    assert election.second.is_leading


async def test_the_same_broker_started_again_takes_its_own_place() -> None:
    election = Election()
    await election.stand(election.first)
    again = election.candidate("first")
    await election.bus.tell(again)
    await election.stand(again)
    assert again.is_leading


async def test_a_leader_without_a_bus_goes_on_exchanging_and_publishes_nothing() -> None:
    election = Election()
    await election.stand(election.first)
    election.bus.connected, election.bus.fails = False, "unheard"
    election.clock.advance(TENURE_SECONDS + 1)
    await election.stand(election.first)
    assert not election.first.is_leading
    assert election.first.may_exchange
    assert not election.second.may_exchange


async def test_a_key_that_no_broker_signed_keeps_nobody_from_leading() -> None:
    election = Election()
    election.bus.value, election.bus.revision = b'{"holder": "a stranger"}', 7
    await election.bus.tell(election.first)
    await election.stand(election.first)
    assert election.first.is_leading


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[BusWorld]:
    async with running_nats_server(tmp_path / "nats") as server, bus_world(server, tmp_path) as connected:
        yield connected


@pytest.fixture
async def aws(tmp_path: Path) -> AsyncIterator[Clouds]:
    async with clouds(tmp_path / "clouds") as running:
        yield running


@pytest.fixture
def scene(aws: Clouds) -> Scene:
    return set_scene(aws, external_id="vreg-external-idn1")


async def configure(world: BusWorld, scene: Scene) -> None:
    await world.put_identity(aws_identity(world, scene))
    await world.put_upstream(upstream(host=scene.host))


def in_order(world: BusWorld) -> bool:
    """Whether every lease that was published is newer than the one before it."""
    generations = [lease.generation for lease in world.seen]
    return all(before < after for before, after in itertools.pairwise(generations))


async def test_the_bus_lets_one_claim_through_and_ends_it_by_itself(world: BusWorld) -> None:
    async with world.server.bus(Service.TOKEN_BROKER) as bus:
        await bus.ensure_bucket(BUCKET)
        revision = await bus.claim(BUCKET, KEY, b"mine", revision=0, seconds=1)
        with pytest.raises(BusConflictError):
            await bus.claim(BUCKET, KEY, b"another's", revision=0, seconds=1)
        renewed = await bus.claim(BUCKET, KEY, b"mine", revision=revision, seconds=1)
        assert renewed > revision

        async def is_free() -> bool:
            try:
                await bus.claim(BUCKET, KEY, b"next", revision=0, seconds=1)
            except BusConflictError:
                return False
            return True

        await eventually(is_free)


async def test_two_brokers_make_one_exchange_for_each_lease(
    world: BusWorld, aws: Clouds, scene: Scene
) -> None:
    aws.aws.set_token_life(3.0)
    async with world.broker(dict(aws.environment), "a"), world.broker(dict(aws.environment), "b"):
        await configure(world, scene)
        await eventually(lambda: len(world.seen) >= 4, deadline=20)
        assert exchanges(aws) - len(world.seen) in {0, 1}
    assert in_order(world)
    assert sum(len(outcomes(world, name)) for name in "ab") == exchanges(aws)


async def test_a_broker_that_takes_over_or_starts_again_exchanges_nothing_that_still_holds(
    world: BusWorld, aws: Clouds, scene: Scene
) -> None:
    async with AsyncExitStack() as first:
        await first.enter_async_context(world.broker(dict(aws.environment), "a"))
        await configure(world, scene)
        await eventually(lambda: world.seen)
        async with world.broker(dict(aws.environment), "b"):
            await first.aclose()
            await world.wait_answering()
            reply = await world.ask("ups1")
            assert (reply.outcome, reply.generation) == ("issued", str(world.seen[0].generation))
    async with world.broker(dict(aws.environment), "a"):
        await world.wait_answering()
        assert (await world.ask("ups1")).generation == str(world.seen[0].generation)
        assert exchanges(aws) == 1
        refused = await world.ask("ups1", str(world.seen[0].generation))
        assert refused.outcome == "issued"
        assert exchanges(aws) == 2, "a lease that was refused is not handed out again"
    assert in_order(world)


async def test_a_changed_identity_is_not_inherited(world: BusWorld, aws: Clouds, scene: Scene) -> None:
    async with world.broker(dict(aws.environment), "a"):
        await configure(world, scene)
        await eventually(lambda: world.seen)
    await world.put_identity(aws_identity(world, scene, version=2))
    async with world.broker(dict(aws.environment), "b"):
        await eventually(lambda: len(world.seen) == 2)
        assert exchanges(aws) == 2
    assert in_order(world)


async def test_brokers_killed_at_any_point_are_followed_in_time_and_exchange_nothing_twice(
    aws: Clouds, scene: Scene, tmp_path: Path
) -> None:
    """Pairs of processes side by side: the leader is killed, whatever it does, and comes back to follow."""
    aws.aws.set_token_life(20.0)
    slowest = await asyncio.gather(
        *(kill_in_turn(tmp_path / f"pair-{number}", aws, scene, number) for number in range(PAIRS))
    )
    print(f"{PAIRS * KILLS} kills, slowest take-over {max(slowest):.1f} s, {exchanges(aws)} exchanges")  # noqa: T201 - the figures


async def kill_in_turn(folder: Path, aws: Clouds, scene: Scene, seed: int) -> float:
    """Kill one leader after another; return how long the slowest take-over took, in seconds."""
    loop, points, slowest = asyncio.get_running_loop(), random.Random(seed), 0.0  # noqa: S311 - a schedule
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(running_nats_server(folder / "nats"))
        world = await stack.enter_async_context(bus_world(server, folder))
        running = {}

        async def start(name: str) -> None:
            more = {"VREG_BROKER_ID": name, "VREG_BROKER_STATE": str(world.state_of(name))}
            environment = world.environment(dict(aws.environment) | more)
            running[name] = await stack.enter_async_context(process(environment))

        await start("a")
        await configure(world, scene)
        await eventually(lambda: world.seen, deadline=20)
        await start("b")
        for kill in range(KILLS):
            leader = "ab"[kill % 2]
            asking = asyncio.create_task(asked(world, str(world.seen[-1].generation)))
            await asyncio.sleep(points.uniform(0.0, 0.5))  # a random point of the exchange that was asked for
            running[leader].kill()
            fell = loop.time()
            await answered(world)
            slowest = max(slowest, loop.time() - fell)
            await asking
            await running[leader].wait()
            await start(leader)
        assert in_order(world)
        made = sum(len(outcomes(world, name)) for name in "ab")
        assert made <= len(world.seen) + KILLS
    return slowest


def outcomes(world: BusWorld, name: str) -> list[str]:
    """Return what became of the exchanges that a broker began."""
    found = [event for event in world.journal(name) if event.type == "vreg.exchange.outcome"]
    return [str(event.data["outcome"]) for event in found]


async def asked(world: BusWorld, refused: str) -> None:
    """Ask for another lease, whatever comes of it."""
    try:
        await world.ask("ups1", refused)
    except BusUnavailableError:
        return


async def answered(world: BusWorld) -> None:
    """Return once a broker answers with a lease; fail after the time that a take-over may take."""

    async def is_answered() -> bool:
        try:
            return (await world.ask("ups1")).outcome == "issued"
        except BusUnavailableError:
            return False

    await eventually(is_answered, deadline=TAKE_OVER_SECONDS)


async def test_a_leader_that_was_paused_beyond_its_tenure_publishes_nothing_old(
    world: BusWorld, aws: Clouds, scene: Scene
) -> None:
    aws.aws.set_token_life(4.0)
    more = {"VREG_BROKER_ID": "a", "VREG_BROKER_STATE": str(world.state_of("a"))}
    async with process(world.environment(dict(aws.environment) | more)) as paused:
        await configure(world, scene)
        await eventually(lambda: world.seen, deadline=20)
        async with world.broker(dict(aws.environment), "b"):
            os.kill(paused.pid, signal.SIGSTOP)
            await eventually(lambda: leaders(world) >= {"b"}, deadline=TAKE_OVER_SECONDS + 5)
            count = len(world.seen)
            os.kill(paused.pid, signal.SIGCONT)
            await eventually(lambda: len(world.seen) >= count + 3, deadline=20)
            assert {lease.generation.broker for lease in world.seen[count:]} == {"b"}
    assert in_order(world)


def leaders(world: BusWorld) -> set[str]:
    return {lease.generation.broker for lease in world.seen}
