"""Health in a running vreg: every method well, then refused by its cloud, unreachable, and well again."""

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

_NUMBERS = itertools.count()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def play(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cast]:
    """All methods at work, looked at often."""
    folder: Path = tmp_path_factory.mktemp("health")
    async with cast(folder, environment={"VREG_HEALTH_INTERVAL": "5"}) as running:
        await running.set_up()
        yield running


async def health(play: Cast, member: Member) -> dict[str, Any]:
    view: dict[str, Any] = (await play.stack.call("GET", f"/health/upstreams/{member.upstream_id}")).json()
    return view


async def comes_to(play: Cast, member: Member, state: str) -> dict[str, Any]:
    async def is_so() -> bool:
        return bool((await health(play, member))["state"] == state)

    await eventually(is_so, deadline=120)
    return await health(play, member)


async def pull_some(play: Cast, member: Member, count: int) -> None:
    """Pull, whatever comes of it: pulls are what health hears of first."""
    async with play.puller() as puller:
        for _ in range(count):
            tag = f"n{next(_NUMBERS)}"
            await asyncio.to_thread(member.push, tag, tag)
            try:
                await puller.pull(member.repository, tag)
            except (PullFailedError, aiohttp.ClientError):
                continue


async def test_every_upstream_comes_to_be_healthy_by_itself(play: Cast) -> None:
    for member in play.members:
        view = await comes_to(play, member, "healthy")
        ends_by_itself = member.prepared.services != ()
        assert (view["outage_budget_seconds"] is not None) == ends_by_itself, member.tag
    states = (await play.stack.call("GET", "/health")).json()["states"]
    assert states["healthy"] == len(play.members)


async def test_an_upstream_that_gives_nothing_is_told_and_so_is_its_return(play: Cast) -> None:
    member = next(each for each in play.members if each.provider == "aws")
    play.clouds.faults.add(Fault(Harm.FAIL, host=member.prepared.host, status=503, times=None))
    await pull_some(play, member, 4)
    view = await comes_to(play, member, "unreachable")
    assert (view["reason"], view["remedy"] != "") == ("upstream_error", True)
    play.clouds.faults.clear()
    await comes_to(play, member, "healthy")
    history = (await play.stack.call("GET", f"/health/upstreams/{member.upstream_id}/history")).json()
    assert [each["state"] for each in history][:2] == ["healthy", "unreachable"]


async def test_a_cloud_that_says_no_is_told_with_its_remedy_before_pulls_break(play: Cast) -> None:
    """What the cloud takes away last: the next exchange, or the next look, hears of it."""
    told = {}
    for member in [each for each in play.members if each.prepared.services]:
        member.stage.refuse(member.prepared)
        member.stage.end_credentials()
        await pull_some(play, member, 3)
        view = await comes_to(play, member, "auth_failed")
        assert view["reason"], member.tag
        assert view["remedy"], (member.tag, view)
        told[member.tag] = view["reason"]
    assert len(told) == 15
    events = [event["data"] for event in play.stack.journalled() if event["type"] == "vreg.health.changed"]
    refused = {data["upstream_id"] for data in events if data["state"] == "auth_failed"}
    assert refused == {each.upstream_id for each in play.members if each.prepared.services}
