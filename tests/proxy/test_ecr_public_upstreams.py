"""Pulls through vreg from ECR Public: anonymously and with an identity, past the ends of their tokens."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.clouds.aws.control import MadeKey
from tests.clouds.aws.policy import may_pull_public
from tests.clouds.clouds import Clouds, clouds
from tests.clouds.images import make_image
from tests.clouds.scene import ACCOUNT
from tests.clouds.sdk import Sdk
from tests.proxy.proxy_world import ProxyWorld, proxy_world
from tests.support.gateway_policy import policy_through
from tests.support.registry_world import lease_for
from vreg_shared.messages.refresh import RefreshReply, RefreshRequest
from vreg_shared.messages.upstream import UpstreamRecord
from vreg_shared.provider import Presentation
from vreg_shared.providers.aws.registry import public_lease_scope

IMAGE = make_image("public", 2000)
(LAYER,) = IMAGE.layers
HOST = "public.ecr.aws"
MANIFEST, BLOB = "/v2/team/docker/library/alpine/manifests/1", f"/v2/team/docker/library/alpine/blobs/{LAYER}"
VALIDITY = 10
"""Less than a token without `expires_in` is believed to live."""


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[Clouds]:
    async with clouds(tmp_path / "clouds") as running:
        running.ecr_public("docker/library/alpine").push(IMAGE, "1")
        yield running


@pytest.fixture
async def proxy(tmp_path: Path, world: Clouds) -> AsyncIterator[ProxyWorld]:
    async with proxy_world(tmp_path / "cache", policy_through(world)) as running:
        yield running


@pytest.fixture
def key(world: Clouds) -> MadeKey:
    return world.aws.add_user(ACCOUNT, "public", allow=may_pull_public())


def upstream(proxy: ProxyWorld, identity_id: str | None = None) -> None:
    """Serve ECR Public, and nothing else, as the registry `team`."""
    record = UpstreamRecord(
        id="up",
        name="up",
        kind="ecr_public",
        host=HOST,
        identity_id=identity_id,
        tag_validity_seconds=VALIDITY,
        stale_for=(),
    )
    proxy.put("upstream", record)
    proxy.registry("team", "up", anonymous_pull=True)


def lend(world: Clouds, proxy: ProxyWorld, key: MadeKey, version: int = 1) -> None:
    """Publish a fresh token as the broker does."""
    client = Sdk(world, key, "us-east-1").client("ecr-public")
    token = client.get_authorization_token()["authorizationData"]["authorizationToken"]
    lease = lease_for(HOST, Presentation.BEARER, username="AWS", secret=token, version=version)
    proxy.put_lease(replace(lease, scope=public_lease_scope("identity", HOST)))


async def test_without_an_identity_everything_there_is_pulled(world: Clouds, proxy: ProxyWorld) -> None:
    upstream(proxy)

    assert (await proxy.get(MANIFEST)).body == IMAGE.manifest
    assert (await proxy.get(BLOB)).body == IMAGE.blobs[LAYER]
    assert {entry.principal for entry in world.log.entries(operation="GET manifests")} == {"anonymous"}


async def test_the_end_of_an_anonymous_token_is_noticed_by_nobody(world: Clouds, proxy: ProxyWorld) -> None:
    upstream(proxy)
    for _ in range(2):  # the challenge's own scope is asked for with the first token alone
        assert (await proxy.get(MANIFEST)).status == 200
        proxy.clock.advance(VALIDITY + 1)
    world.aws.expire_tokens()

    assert (await proxy.get(MANIFEST)).body == IMAGE.manifest
    assert world.log.count(service="ecr-public", status="400") == 1


async def test_an_identitys_pulls_are_its_own(world: Clouds, proxy: ProxyWorld, key: MadeKey) -> None:
    upstream(proxy, "identity")
    lend(world, proxy, key)

    assert (await proxy.get(MANIFEST)).body == IMAGE.manifest
    assert {entry.principal for entry in world.log.entries(operation="GET manifests")} == {key.arn}
    assert world.log.count(operation="Token") == 0


async def test_a_token_that_ended_early_is_replaced_by_the_broker_and_the_pull_goes_on(
    world: Clouds, proxy: ProxyWorld, key: MadeKey
) -> None:
    upstream(proxy, "identity")
    lend(world, proxy, key)
    world.aws.expire_tokens()

    def issue(_: RefreshRequest) -> RefreshReply:
        lend(world, proxy, key, version=2)
        return RefreshReply(outcome="issued")

    proxy.broker.answer = issue
    assert (await proxy.get(MANIFEST)).body == IMAGE.manifest
    assert len(proxy.broker.asked) == 1


async def test_a_token_that_cannot_be_replaced_is_an_honest_error_and_never_anonymous(
    world: Clouds, proxy: ProxyWorld, key: MadeKey
) -> None:
    upstream(proxy, "identity")
    lend(world, proxy, key)
    world.aws.revoke_tokens()
    proxy.broker.answer = lambda _: RefreshReply(outcome="refused", reason="permission_denied")

    answer = await proxy.get(MANIFEST)

    assert (answer.status, answer.error_code()) == (403, "DENIED")
    assert world.log.count(operation="Token") == 0
