"""`python -m vreg_token_broker` as an operator meets it: one clear line, and no end that loses track."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.broker.bus_world import BusWorld, bus_world
from tests.broker.test_broker_on_the_bus import aws_identity, exchanges
from tests.broker.world import upstream
from tests.clouds.clouds import Clouds, clouds
from tests.clouds.faults import Fault, Harm
from tests.clouds.scene import set_scene
from tests.support.nats_server import running_nats_server
from tests.support.wait import eventually
from vreg_token_broker.ledger import problems


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process ended and what it said."""

    code: int
    output: str
    errors: str


async def run(environment: Mapping[str, str]) -> Ended:
    """Run the broker to its end."""
    async with process(environment) as running:
        output, errors = await running.communicate()
        assert running.returncode is not None
        return Ended(running.returncode, output.decode(), errors.decode())


@asynccontextmanager
async def process(environment: Mapping[str, str]) -> AsyncIterator[asyncio.subprocess.Process]:
    """Start the broker with exactly this environment, and leave nothing behind."""
    running = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "vreg_token_broker"),
        env={"PATH": os.environ["PATH"]} | dict(environment),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield running
    finally:
        if running.returncode is None:
            running.kill()
            await running.communicate()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[BusWorld]:
    async with running_nats_server(tmp_path / "nats") as server, bus_world(server, tmp_path) as connected:
        yield connected


@pytest.fixture
async def aws(tmp_path: Path) -> AsyncIterator[Clouds]:
    async with clouds(tmp_path / "clouds") as running:
        yield running


def unset(name: str) -> Mapping[str, str | None]:
    return {name: None}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        (unset("VREG_KEYS"), "VREG_KEYS"),
        (unset("VREG_BROKER_STATE"), "VREG_BROKER_STATE"),
        ({"VREG_KEYS": "/nowhere"}, "VREG_KEYS"),
        ({"VREG_PUBLIC_KEYS": "/nowhere"}, "VREG_PUBLIC_KEYS"),
        ({"VREG_BROKER_STATE": "/proc/nowhere"}, "VREG_BROKER_STATE"),
        ({"VREG_BROKER_ID": "Not A Name"}, "VREG_BROKER_ID"),
        ({"VREG_NATS_URL": "http://nats"}, "VREG_NATS_URL"),
        ({"VREG_CA_BUNDLE": "/nowhere"}, "VREG_CA_BUNDLE"),
        ({"HTTPS_PROXY": "ftp://proxy"}, "HTTPS_PROXY"),
    ],
)
async def test_a_wrong_setting_is_one_line_that_names_it(
    world: BusWorld, changes: Mapping[str, str | None], named: str
) -> None:
    environment = world.environment() | changes
    ended = await run({name: value for name, value in environment.items() if value is not None})
    assert ended.code == 2
    assert ended.errors.startswith("vreg_token_broker: ")
    assert named in ended.errors
    assert ended.errors.count("\n") == 1


async def test_a_second_broker_on_the_same_state_says_so(world: BusWorld) -> None:
    async with world.broker():
        ended = await run(world.environment())
    assert ended.code == 2
    assert "another token-broker" in ended.errors


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_cleanly(world: BusWorld, number: signal.Signals) -> None:
    async with process(world.environment()) as running:
        await world.wait_answering()
        running.send_signal(number)
        output, errors = await running.communicate()
    assert running.returncode == 0
    assert errors == b""
    assert b"broker_stopped" in output


async def test_a_signal_waits_for_the_exchange_under_way(world: BusWorld, aws: Clouds) -> None:
    scene = set_scene(aws, external_id="vreg-external-idn1")
    aws.faults.add(Fault(Harm.LATENCY, service="ecr-api", seconds=1.5))
    async with process(world.environment(dict(aws.environment))) as running:
        await world.put_identity(aws_identity(world, scene))
        await world.put_upstream(upstream(host=scene.host))
        await eventually(lambda: not aws.faults.waiting())
        running.send_signal(signal.SIGTERM)
        await running.communicate()
    assert running.returncode == 0
    outcome = world.journal()[-1]
    assert (outcome.type, outcome.data["outcome"]) == ("vreg.exchange.outcome", "issued")


async def test_a_silent_cloud_does_not_hold_up_the_end(world: BusWorld, aws: Clouds) -> None:
    scene = set_scene(aws, external_id="vreg-external-idn1")
    aws.faults.add(Fault(Harm.LATENCY, service="sts", seconds=60.0))
    async with process(world.environment(dict(aws.environment))) as running:
        await world.put_identity(aws_identity(world, scene))
        await world.put_upstream(upstream(host=scene.host))
        await eventually(lambda: not aws.faults.waiting())
        running.send_signal(signal.SIGTERM)
        async with asyncio.timeout(9.5):  # after ten seconds `vreg up` kills
            await running.communicate()
    assert running.returncode == 0


async def test_kill_9_in_the_middle_of_an_exchange_leaves_no_intent_open(
    world: BusWorld, aws: Clouds
) -> None:
    scene = set_scene(aws, external_id="vreg-external-idn1")
    environment = world.environment(dict(aws.environment))
    await world.put_identity(aws_identity(world, scene))
    await world.put_upstream(upstream(host=scene.host))
    for stage in ("sts", "ecr-api"):
        aws.faults.add(Fault(Harm.LATENCY, service=stage, seconds=30.0))
        async with process(environment) as running:
            await eventually(lambda: not aws.faults.waiting())
            running.kill()
            await running.communicate()
    async with process(environment) as running:
        await eventually(lambda: world.seen)
        await eventually(world.everything_is_published)
        running.terminate()
        await running.communicate()
    events = world.journal()
    outcomes = [event.data["outcome"] for event in events if event.type == "vreg.exchange.outcome"]
    assert outcomes == ["unknown", "unknown", "issued"]
    assert [event.type for event in events].count("vreg.exchange.intent") == 3
    lines = [event.model_dump_json().encode() for event in events]
    assert problems(lines, world.keys.broker.verifying) == []


async def test_no_secret_is_logged_even_at_debug_level(world: BusWorld, aws: Clouds) -> None:
    scene = set_scene(aws, external_id="vreg-external-idn1")
    environment = world.environment(dict(aws.environment) | {"VREG_LOG_LEVEL": "debug"})
    aws.faults.add(Fault(Harm.FAIL, service="sts"))
    async with process(environment) as running:
        await world.put_identity(aws_identity(world, scene))
        await world.put_upstream(upstream(host=scene.host))
        await eventually(lambda: world.seen, deadline=20)
        running.terminate()
        output, errors = await running.communicate()
    said = (output + errors).decode()
    assert "exchanged" in said
    assert scene.key.secret_access_key not in said
    assert world.seen[0].credential.secret.reveal() not in said
    assert exchanges(aws) == 1
