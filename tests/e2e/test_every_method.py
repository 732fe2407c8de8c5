"""Every auth method of every cloud in one running vreg: real services, real clients, emulated clouds."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from tests.clients.credentials import write_auth_file
from tests.clients.puller import PullFailedError
from tests.clients.skopeo import Skopeo
from tests.e2e.cast import Cast, cast
from tests.e2e.sweep import places_of
from tests.endurance.run import Run, Wishes
from tests.support.wait import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

CHANGE_SECONDS = 10


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def play(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cast]:
    """All methods at work, and everything logged that can be."""
    folder: Path = tmp_path_factory.mktemp("every")
    async with cast(folder, environment={"VREG_LOG_LEVEL": "debug"}) as running:
        await running.set_up()
        yield running


async def test_a_real_client_pulls_by_every_method(play: Cast, tmp_path: Path) -> None:
    auth_file = write_auth_file(tmp_path / "config" / "config.json", play.stack.proxy, play.token)
    client = Skopeo(tmp_path / "skopeo", auth_file)
    try:
        for member in play.members:
            digest = await asyncio.to_thread(member.push, f"real-{member.tag}", "real")
            assert await client.pull(play.image(member, "real")) == digest, member.tag
    finally:
        await client.close()


async def test_every_keyless_identity_was_proved_by_vregs_own_issuer(play: Cast) -> None:
    keyless = [member for member in play.members if member.prepared.method.identity_token is not None]
    assert {member.provider for member in keyless} >= {"aws", "azure", "gcp"}
    fetched = play.clouds.log.count(host="vreg.example.test", path="*/jwks.json", status="200")
    assert fetched >= len(keyless)


async def test_dead_credentials_are_replaced_unnoticed(play: Cast) -> None:
    for stage in play.stages.values():
        stage.end_credentials()
    async with play.puller() as puller:
        for member in play.members:
            digest = await asyncio.to_thread(member.push, f"dead-{member.tag}", "dead")
            assert (await puller.pull(member.repository, "dead")).digest == digest, member.tag


async def test_a_changed_credential_takes_effect_everywhere_without_a_restart(play: Cast) -> None:
    """The old one is dead in its cloud before vreg is told: what fails in between must not be remembered."""
    async with play.puller() as puller:
        for number, member in enumerate(play.members):
            await play.replace(member)
            tag = f"changed-{number}"
            digest = await asyncio.to_thread(member.push, tag, tag)

            async def is_pulled(member=member, tag=tag, digest=digest) -> bool:  # type: ignore[no-untyped-def]  # noqa: ANN001 - bound for this round
                try:
                    return (await puller.pull(member.repository, tag)).digest == digest
                except (PullFailedError, aiohttp.ClientError):
                    return False

            await eventually(is_pulled, deadline=CHANGE_SECONDS)


async def test_no_secret_of_any_cloud_is_found_anywhere_afterwards(play: Cast) -> None:
    secrets = {
        f"{member.tag} {number}": secret
        for member in play.members
        for number, secret in enumerate(member.prepared.secrets)
        if secret not in play.platform.values()  # what the platform itself put into the environment
    }
    assert len(secrets) >= len(play.members) / 2
    assert places_of(play.stack, {**secrets, "client token": play.token}) == []


async def test_tokens_of_every_cloud_end_without_a_pull_that_fails(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """A small edition of `make endurance`, with two token-brokers."""
    wishes = Wishes(pulls=60, expiries=2, life=16.0, workers=2, brokers=2)
    async with cast(tmp_path_factory.mktemp("ending")) as play:
        for stage in play.stages.values():
            stage.set_life(wishes.life)
        async with play.stack.another_broker("broker-2"):
            await play.set_up()
            run = Run(play, wishes, ["broker-2"])
            await run.go()
    assert {figures.provider for figures in run.figures} == {"aws", "azure", "gcp"}
    assert list(itertools.chain(*(figures.faults for figures in run.figures))) == []
