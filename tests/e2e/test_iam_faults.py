"""What clients notice while IAM is away, for a while or for good, or says no: little, and the truth."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from tests.clients.puller import PullFailedError
from tests.clouds.faults import Fault, Harm
from tests.e2e.cast import Cast, Member, cast
from tests.support.wait import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

LIFE_SECONDS = 20.0
SHORT_LIFE_SECONDS = 6.0
_NUMBERS = itertools.count()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def play(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cast]:
    """All methods at work."""
    folder: Path = tmp_path_factory.mktemp("iam")
    async with cast(folder) as running:
        await running.set_up()
        yield running


@pytest.fixture
def climbing(play: Cast) -> list[Member]:
    """The members whose exchange asks somebody."""
    return [member for member in play.members if member.prepared.services]


async def pull_new(play: Cast, member: Member) -> str:
    """Pull an image that nobody has; return its tag, or raise what the pull raises."""
    tag = f"n{next(_NUMBERS)}"
    digest = await asyncio.to_thread(member.push, tag, tag)
    async with play.puller() as puller:
        assert (await puller.pull(member.repository, tag)).digest == digest
    return tag


async def what_is_said(play: Cast, member: Member) -> str:
    """Return how a pull of something new fails; empty when it does not."""
    try:
        await pull_new(play, member)
    except (PullFailedError, aiohttp.ClientError) as error:
        return str(error)
    return ""


async def freshen(play: Cast, members: list[Member], life: float) -> None:
    """Let every member hold a credential that was given out just now, and lives so long."""
    for stage in play.stages.values():
        stage.set_life(life)
        stage.end_credentials()
    for member in members:
        await goes_well(play, member)


async def goes_well(play: Cast, member: Member) -> None:
    """Return once something new can be pulled: after a failure vreg asks again, and not in haste."""

    async def is_well() -> bool:
        return await what_is_said(play, member) == ""

    await eventually(is_well, deadline=60)


def fail_iam(play: Cast, members: list[Member]) -> None:
    """Let every exchange fail; registries go on."""
    for service in {service for member in members for service in member.prepared.services}:
        path = "/oauth2/exchange" if service == "acr" else "*"
        play.clouds.faults.add(Fault(Harm.FAIL, service=service, path=path, times=None))


async def test_iam_that_fails_for_half_a_life_fails_no_pull(play: Cast, climbing: list[Member]) -> None:
    loop = asyncio.get_running_loop()
    await freshen(play, climbing, LIFE_SECONDS)
    fail_iam(play, climbing)
    mended = loop.time() + LIFE_SECONDS / 2
    while loop.time() < mended:
        for member in climbing:
            await pull_new(play, member)
    play.clouds.faults.clear()
    for member in climbing:
        await pull_new(play, member)


async def test_without_iam_beyond_the_end_what_is_cached_goes_on_and_the_rest_says_why(
    play: Cast, climbing: list[Member]
) -> None:
    await freshen(play, climbing, SHORT_LIFE_SECONDS)
    cached = {member.tag: await pull_new(play, member) for member in climbing}
    fail_iam(play, climbing)
    for member in climbing:

        async def is_told(member: Member = member) -> bool:
            said = await what_is_said(play, member)
            return " 503 " in said and "upstream_auth_unavailable" in said

        await eventually(is_told, deadline=3 * SHORT_LIFE_SECONDS)
    async with play.puller() as puller:
        for member in climbing:
            await puller.pull(member.repository, cached[member.tag])
    for stage in play.stages.values():
        stage.set_life(3600.0)
    play.clouds.faults.clear()
    for member in climbing:
        await goes_well(play, member)


async def test_an_identity_that_is_refused_is_told_of_with_a_remedy_and_works_once_trusted_again(
    play: Cast, climbing: list[Member]
) -> None:
    for member in climbing:
        member.stage.refuse(member.prepared)
    for stage in play.stages.values():
        stage.end_credentials()
    for member in climbing:

        async def is_refused(member: Member = member) -> bool:
            said = await what_is_said(play, member)
            is_told = any(_is_refusal(event["data"], member) for event in play.stack.journalled())
            return " 403 " in said and "DENIED" in said and is_told

        await eventually(is_refused, deadline=60)
    for member in climbing:
        await play.trust_again(member)
    for member in climbing:
        await goes_well(play, member)


def _is_refusal(data: dict[str, Any], member: Member) -> bool:
    """Whether an event says that this identity was refused, and what to do."""
    is_ours = data.get("identity_id") == member.identity_id
    return is_ours and data.get("outcome") == "refused" and bool(data.get("remedy"))
