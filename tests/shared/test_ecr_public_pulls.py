"""Pulling from ECR Public as it is emulated: by nobody in particular, and with an identity's bearer."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.clouds.aws.policy import may_pull_public
from tests.clouds.clouds import Clouds, clouds
from tests.clouds.faults import Fault, Harm
from tests.clouds.images import make_image
from tests.clouds.scene import ACCOUNT
from tests.clouds.sdk import Sdk
from tests.support.clock import ManualClock
from tests.support.gateway_policy import policy_through
from tests.support.registry_world import LeaseSource, lease_for
from vreg_shared.catalogue import catalogue
from vreg_shared.oci.digest import Digest
from vreg_shared.oci.reference import RepositoryName, Tag
from vreg_shared.provider import Answer, Presentation, Verdict
from vreg_shared.registry_client import (
    BlobStream,
    Credentials,
    FixedCredentials,
    Manifest,
    RegistryClient,
    Target,
    open_upstream_session,
)

HOSTS = ("public.ecr.aws", "ecr-public.aws.com")
IMAGE = make_image("public", 3000)
(LAYER,) = IMAGE.layers
NAME, TAG = RepositoryName.parse("docker/library/alpine"), Tag("3.20")
Open = Callable[..., Awaitable[RegistryClient]]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[Clouds]:
    async with clouds(tmp_path) as running:
        running.ecr_public(NAME.value).push(IMAGE, TAG.value)
        yield running


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def open_client(world: Clouds, clock: ManualClock) -> AsyncIterator[Open]:
    async with AsyncExitStack() as stack:

        async def open_client(host: str, credentials: Credentials | None = None) -> RegistryClient:
            target = Target("upstream", catalogue().kind("ecr_public"), host)
            session = await stack.enter_async_context(open_upstream_session(policy_through(world), target))
            return RegistryClient(target, session, credentials or FixedCredentials(), clock)

        yield open_client


def token(world: Clouds) -> str:
    key = world.aws.add_user(ACCOUNT, "public", allow=may_pull_public())
    client = Sdk(world, key, "us-east-1").client("ecr-public")
    return str(client.get_authorization_token()["authorizationData"]["authorizationToken"])


def leased(host: str, *tokens: str) -> LeaseSource:
    return LeaseSource(
        [
            lease_for(host, Presentation.BEARER, username="AWS", secret=each, version=version)
            for version, each in enumerate(tokens, 1)
        ]
    )


async def pulled(client: RegistryClient) -> bool:
    manifest = await client.get_manifest(NAME, TAG)
    assert isinstance(manifest, Manifest), manifest
    async with client.open_blob(NAME, Digest.parse(LAYER)) as blob:
        assert isinstance(blob, BlobStream), blob
        return b"".join([chunk async for chunk in blob.chunks]) == IMAGE.blobs[LAYER]


@pytest.mark.parametrize("host", HOSTS)
async def test_nobody_in_particular_pulls_with_a_token_of_the_hosts_own_realm(
    world: Clouds, open_client: Open, host: str
) -> None:
    assert await pulled(await open_client(host))
    assert {entry.host for entry in world.log.entries(operation="Token")} == {host}
    (blob,) = world.log.entries(service="cloudfront")
    assert not blob.has_authorization


async def test_an_anonymous_token_that_ended_is_replaced_although_nothing_is_challenged(
    world: Clouds, open_client: Open, clock: ManualClock
) -> None:
    client = await open_client(HOSTS[0])
    assert await pulled(client)
    world.aws.expire_tokens()
    clock.advance(1)

    assert await pulled(client)
    assert world.log.count(status="400") > 0


@pytest.mark.parametrize("host", HOSTS)
async def test_an_identity_pulls_with_its_bearer_and_asks_no_realm(
    world: Clouds, open_client: Open, host: str
) -> None:
    assert await pulled(await open_client(host, leased(host, token(world))))
    assert world.log.count(operation="Token") == 0


async def test_a_bearer_that_ended_is_replaced_by_the_broker_once(world: Clouds, open_client: Open) -> None:
    first = token(world)
    world.aws.expire_tokens()
    source = leased(HOSTS[0], first, token(world))

    assert await pulled(await open_client(HOSTS[0], source))
    assert len(source.refused) == 1


async def test_what_is_not_there_is_absent_and_too_much_is_unavailable(
    world: Clouds, open_client: Open
) -> None:
    client = await open_client(HOSTS[0], leased(HOSTS[0], token(world)))

    missing = await client.get_manifest(RepositoryName.parse("nobody/nothing"), TAG)
    assert isinstance(missing, Verdict)
    assert (missing.answer, missing.reason) == (Answer.ABSENT, "repository_unknown")
    world.faults.add(Fault(Harm.THROTTLE, service="ecr-public", retry_after=3))
    throttled = await client.get_manifest(NAME, TAG)
    assert isinstance(throttled, Verdict)
    assert (throttled.answer, throttled.reason, throttled.retry_after) == (
        Answer.UNAVAILABLE,
        "throttled",
        3.0,
    )
