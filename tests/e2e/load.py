"""Pulls that go on while something is broken, and what came of them."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp

from tests.clients.puller import Puller, PullFailedError
from tests.clouds.images import make_image
from tests.e2e.scene import PLACES, Scene
from tests.support.wait import eventually

_PACE_SECONDS = 0.02


@dataclass(slots=True)
class Outcome:
    """How many pulls went well, and what the others said."""

    pulled: int = 0
    failures: list[str] = field(default_factory=list)

    async def more(self, count: int, *, deadline: float = 60) -> None:
        """Wait until `count` more pulls went well."""
        wanted = self.pulled + count
        await eventually(lambda: self.pulled >= wanted or self.failures, deadline=deadline)
        assert not self.failures, self.failures[:3]


@asynccontextmanager
async def pulls(stage: Scene, name: str, *, pullers: int = 4) -> AsyncIterator[Outcome]:
    """Pull a cached image and cold ones, in turn, while the block runs."""
    outcome, ended, numbers = Outcome(), asyncio.Event(), itertools.count()
    warm = make_image(f"{name}-warm", 20_000)
    stage.push_to_ecr(PLACES[1], warm, f"{name}-warm")

    async def pull_on() -> None:
        async with stage.puller() as puller:
            while not ended.is_set():
                try:
                    await _pull_two(stage, puller, name, next(numbers))
                    outcome.pulled += 2
                except (PullFailedError, aiohttp.ClientError, TimeoutError) as error:
                    outcome.failures.append(f"{type(error).__name__}: {error}")
                await asyncio.sleep(_PACE_SECONDS)

    async with asyncio.TaskGroup() as group:
        for _ in range(pullers):
            group.create_task(pull_on())
        try:
            yield outcome
        finally:
            ended.set()


async def _pull_two(stage: Scene, puller: Puller, name: str, number: int) -> None:
    place = PLACES[number % len(PLACES)]
    stage.push_to_ecr(place, make_image(f"{name}-{number}", 3000), f"{name}-{number}")
    await puller.pull(f"demo/{place.repository}", f"{name}-{number}")
    await puller.pull(f"demo/{PLACES[1].repository}", f"{name}-warm")
