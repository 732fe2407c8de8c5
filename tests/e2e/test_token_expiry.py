"""Tokens that end every few seconds, and pulls that do not notice."""

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.clouds.images import make_image
from tests.clouds.request_log import Entry
from tests.e2e.scene import PLACES, REGIONS, Scene, scene
from tests.support.wait import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

TOKEN_SECONDS = 6
GENERATIONS = 10
PULLS = 200
PULLERS = 4


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def short_lived(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    """A scene in which AWS gave out short-lived tokens from the first."""
    folder: Path = tmp_path_factory.mktemp("short")
    async with scene(folder, workers=2) as running:
        running.clouds.aws.set_token_life(TOKEN_SECONDS)
        await running.set_up()
        yield running


async def test_two_hundred_pulls_across_ten_expiries_cost_ten_exchanges_and_fail_never(
    short_lived: Scene,
) -> None:
    stage = short_lived
    pulled: Counter[str] = Counter()
    enough = asyncio.Event()
    numbers = itertools.count()

    async def pull_cold_images() -> None:
        """Every pull is of an image nobody pulled before, so that it needs a live token."""
        async with stage.puller() as puller:
            while not enough.is_set():
                number = next(numbers)
                place = PLACES[number % len(PLACES)]
                image = make_image(f"expiry-{number}", 2000)
                stage.push_to_ecr(place, image, f"n{number}")
                answer = await puller.pull(f"demo/{place.repository}", f"n{number}")
                assert answer.digest == image.digest
                pulled[place.host] += 1
                await asyncio.sleep(0.2)  # a pace, so that the pulls are spread over the expiries

    async def stop_after_enough_generations() -> None:
        await eventually(
            lambda: min(generations(stage).values()) >= GENERATIONS and pulled.total() >= PULLS, deadline=100
        )
        enough.set()

    async with asyncio.timeout(120), asyncio.TaskGroup() as group:
        group.create_task(stop_after_enough_generations())
        for _ in range(PULLERS):
            group.create_task(pull_cold_images())

    exchanged = generations(stage)
    print(f"{pulled.total()} pulls, exchanges by scope: {dict(exchanged)}")  # noqa: T201 - the figures
    for scope, times in exchange_times(stage).items():
        gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
        assert all(gap > TOKEN_SECONDS * 0.4 for gap in gaps), f"{scope} asked twice for one token: {gaps}"
    refused = stage.clouds.log.count(service="ecr", status="403")
    assert refused == 0, "a pull met an expired token: the exchange came too late"
    await eventually(lambda: len(made(stage)) >= exchanged.total())  # all that AWS saw is on record
    assert {data["trigger"] for data in made(stage)} == {"first", "scheduled"}, "a pull asked for an exchange"


def made(stage: Scene) -> list[dict[str, Any]]:
    """Return what is on record of every exchange that AWS granted."""
    outcomes = [
        event["data"] for event in stage.stack.journalled() if event["type"] == "vreg.exchange.outcome"
    ]
    return [data for data in outcomes if data["outcome"] == "issued" and data["method"].startswith("aws.")]


def exchange_times(stage: Scene) -> dict[tuple[str, str], list[float]]:
    """Return when each lease scope (principal and region) was given a token."""
    entries = stage.clouds.log.entries(operation="GetAuthorizationToken", status="200")
    times: dict[tuple[str, str], list[float]] = {(principal(entry), entry.region): [] for entry in entries}
    for entry in entries:
        times[principal(entry), entry.region].append(entry.at)
    return times


def generations(stage: Scene) -> Counter[tuple[str, str]]:
    """Return how many tokens each lease scope was given; two identities in two regions make four."""
    counted = Counter({scope: len(times) for scope, times in exchange_times(stage).items()})
    expected = 2 * len(REGIONS)
    return counted if len(counted) == expected else Counter({("none", "yet"): 0})


def principal(entry: Entry) -> str:
    """Name who asked: a role's session has another name each time."""
    return entry.principal.rpartition("/")[0] if "assumed-role" in entry.principal else entry.principal
