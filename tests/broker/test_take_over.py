"""Several brokers on a real bus: one leads, another follows when it falls, and its ghost does no harm."""

import asyncio
import itertools
import json
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import pytest

from tests.broker.broker_process import BrokerProcess, broker_process
from tests.broker.bus_world import BusWorld, bus_world
from tests.broker.test_aws_exchange import by_role
from tests.broker.test_broker_on_the_bus import USABLE_FOR, aws_identity, exchanges
from tests.broker.world import identity, upstream
from tests.clouds.clouds import Clouds, clouds
from tests.clouds.faults import Fault, Harm
from tests.clouds.scene import ACCOUNT, REGION, Scene, set_scene
from tests.support.nats_server import running_nats_server
from tests.support.wait import eventually
from vreg_shared.bus import BusUnavailableError
from vreg_shared.messages.record import decode
from vreg_token_broker import leadership
from vreg_token_broker.leadership import TENURE_SECONDS
from vreg_token_broker.ledger import problems

TAKE_OVER_SECONDS = TENURE_SECONDS + 10.0
"""How long a test waits. The promise is two seconds more than a tenure, and the figures are printed."""
BUSES, KILLS = 4, 5
"""How many buses with three brokers each there are, and how often the leader of each is killed."""


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


def is_in_order(world: BusWorld) -> bool:
    """Whether nothing older was ever put in the place of a lease, and no generation came twice."""
    generations = [lease.generation for lease in world.seen]
    is_rising = all(before < after for before, after in itertools.pairwise(generations))
    return is_rising and world.heard == sorted(world.heard)


def outcomes(world: BusWorld, name: str) -> list[str]:
    """Return what became of the exchanges that a broker began."""
    found = [event for event in world.journal(name) if event.type == "vreg.exchange.outcome"]
    return [str(event.data["outcome"]) for event in found]


def intents(world: BusWorld, name: str) -> int:
    """Return how many exchanges a broker began."""
    return [event.type for event in world.journal(name)].count("vreg.exchange.intent")


def leaders(world: BusWorld) -> set[str]:
    """Return who has published leases."""
    return {lease.generation.broker for lease in world.seen}


async def is_answered(world: BusWorld) -> bool:
    """Whether a broker answers with a lease."""
    try:
        return (await world.ask("ups1")).outcome == "issued"
    except BusUnavailableError:
        return False


async def test_two_brokers_make_one_exchange_for_each_lease(
    world: BusWorld, aws: Clouds, scene: Scene
) -> None:
    aws.aws.set_token_life(3.0)
    async with world.broker(dict(aws.environment), "a"), world.broker(dict(aws.environment), "b"):
        await configure(world, scene)
        await eventually(lambda: len(world.seen) >= 4, deadline=20)
        assert exchanges(aws) - len(world.seen) in {0, 1}
    assert is_in_order(world)
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
    assert is_in_order(world)


async def test_a_lease_of_many_hosts_is_inherited_as_well(world: BusWorld, aws: Clouds, scene: Scene) -> None:
    accounts = [ACCOUNT, *(f"{number:012}" for number in range(10))]
    usable_for = USABLE_FOR | {"accounts": accounts}
    await world.put_identity(
        identity(world.keys.broker_sealing, by_role(scene), usable_for=usable_for, version=1)
    )
    for account in accounts:
        await world.put_upstream(upstream(f"ups-{account}", aws.aws.host(account, REGION)))
    async with world.broker(dict(aws.environment)):
        await eventually(lambda: world.seen and len(world.seen[-1].hosts) == len(accounts))
    made = exchanges(aws)
    async with world.broker(dict(aws.environment)):
        await world.wait_answering()
        reply = await world.ask(f"ups-{ACCOUNT}")
        assert (reply.outcome, reply.generation) == ("issued", str(world.seen[-1].generation))
    assert exchanges(aws) == made


async def test_a_changed_identity_is_not_inherited(world: BusWorld, aws: Clouds, scene: Scene) -> None:
    async with world.broker(dict(aws.environment), "a"):
        await configure(world, scene)
        await eventually(lambda: world.seen)
    await world.put_identity(aws_identity(world, scene, version=2))
    async with world.broker(dict(aws.environment), "b"):
        await eventually(lambda: len(world.seen) == 2)
        assert exchanges(aws) == 2
    assert is_in_order(world)


async def test_a_broker_that_is_stopped_hands_over_at_once_what_it_had_begun(
    world: BusWorld, aws: Clouds, scene: Scene
) -> None:
    aws.faults.add(Fault(Harm.LATENCY, service="ecr-api", seconds=1.0))
    async with AsyncExitStack() as first:
        await first.enter_async_context(world.broker(dict(aws.environment), "a"))
        await world.wait_answering()
        async with world.broker(dict(aws.environment), "b"):
            await configure(world, scene)
            await eventually(lambda: not aws.faults.waiting())
            await first.aclose()
            await eventually(lambda: is_answered(world), deadline=TENURE_SECONDS - 2.0)
            assert leaders(world) == {"a"}
            assert exchanges(aws) == 1


async def test_leaders_killed_at_any_point_are_followed_in_time_and_nothing_is_exchanged_twice(
    aws: Clouds, scene: Scene, tmp_path: Path
) -> None:
    aws.aws.set_token_life(120.0)
    aws.faults.add(Fault(Harm.LATENCY, service="ecr-api", seconds=0.1, times=None))
    async with AsyncExitStack() as stack:
        trios = [await stack.enter_async_context(trio(tmp_path / str(n), aws, scene)) for n in range(BUSES)]
        async with asyncio.TaskGroup() as group:
            for number, each in enumerate(trios):
                group.create_task(each.kill_leaders(random.Random(number)))  # noqa: S311 - a schedule
    kills, took = BUSES * KILLS, sorted(seconds for each in trios for seconds in each.took)
    leases = sum(len(each.world.seen) for each in trios)
    cut_off = sum(outcomes(each.world, name).count("unknown") for each in trios for name in "abc")
    print(  # noqa: T201 - the figures
        f"{kills} kills: followed after {took[0]:.1f} to {took[-1]:.1f} s, {leases} leases, "
        f"{exchanges(aws)} tokens granted, {cut_off} exchanges cut off"
    )
    assert exchanges(aws) <= leases + kills
    assert cut_off <= kills


class Trio:
    """Three brokers on a bus of their own: whoever leads is killed, and comes back to follow."""

    def __init__(self, world: BusWorld, environment: Mapping[str, str], stack: AsyncExitStack) -> None:
        self.world = world
        self.took: list[float] = []
        self._environment = environment
        self._stack = stack
        self._running: dict[str, BrokerProcess] = {}

    async def kill_leaders(self, points: random.Random) -> None:
        """Kill one leader after another at a random point of an exchange; see how soon it is followed."""
        await asyncio.gather(*(self._start(name) for name in "abc"))
        await eventually(lambda: self.world.seen, deadline=20)
        async with asyncio.TaskGroup() as group:
            back = group.create_task(asyncio.sleep(0))
            for _ in range(KILLS):
                leader = await self._leader()
                await self._kill(leader, points.uniform(0.0, 2.0))
                await back  # so that one is always there to follow
                back = group.create_task(self._start(leader))
        for each in self._running.values():
            await each.stop()
        self._judge()

    async def _start(self, name: str) -> None:
        running = await self._stack.enter_async_context(broker_process(self.world, name, self._environment))
        await running.wait_following()
        self._running[name] = running

    async def _leader(self) -> str:
        """Return the name that the key holds."""
        raw = await self.world.server.value(leadership.BUCKET, leadership.KEY)
        assert raw is not None
        record = decode(raw, self.world.keys.broker.verifying, leadership.BUCKET, leadership.KEY)
        return str(json.loads(record.body)["broker"])

    async def _kill(self, name: str, seconds: float) -> None:
        loop, asking = asyncio.get_running_loop(), asyncio.create_task(self._ask_for_another())
        await asyncio.sleep(seconds)  # into the exchange that was asked for
        await self._running[name].kill()
        fell = loop.time()
        await eventually(lambda: is_answered(self.world), deadline=TAKE_OVER_SECONDS)
        self.took.append(loop.time() - fell)
        await asking

    async def _ask_for_another(self) -> None:
        """Ask as proxies do whose lease was refused, whatever comes of it."""
        with suppress(BusUnavailableError):
            await self.world.ask("ups1", str(self.world.seen[-1].generation))

    def _judge(self) -> None:
        """Every exchange that was begun has an end on record, though nobody heard of some."""
        for name in "abc":
            assert intents(self.world, name) == len(outcomes(self.world, name))
            lines = [event.model_dump_json().encode() for event in self.world.journal(name)]
            assert problems(lines, self.world.keys.broker.verifying) == []
        assert is_in_order(self.world)


@asynccontextmanager
async def trio(folder: Path, aws: Clouds, scene: Scene) -> AsyncIterator[Trio]:
    """Prepare a bus that is configured."""
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(running_nats_server(folder / "nats"))
        world = await stack.enter_async_context(bus_world(server, folder))
        await configure(world, scene)
        yield Trio(world, aws.environment, stack)


async def test_a_leader_that_was_paused_beyond_its_tenure_does_nothing_any_more(
    world: BusWorld, aws: Clouds, scene: Scene
) -> None:
    aws.aws.set_token_life(3.0)
    async with broker_process(world, "a", aws.environment) as paused:
        await configure(world, scene)
        await eventually(lambda: world.seen, deadline=20)
        async with world.broker(dict(aws.environment), "b"):
            paused.pause()
            await eventually(lambda: "b" in leaders(world), deadline=TAKE_OVER_SECONDS + 4.0)
            count, begun = len(world.seen), intents(world, "a")
            paused.resume()
            await eventually(lambda: len(world.seen) >= count + 2, deadline=20)
            assert {lease.generation.broker for lease in world.seen[count:]} == {"b"}
            assert intents(world, "a") == begun
    assert is_in_order(world)
