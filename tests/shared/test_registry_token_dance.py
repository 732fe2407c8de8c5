"""The last rung against Docker Hub and its like as they are emulated: every site, every kind of asker."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.clouds.clouds import Clouds, clouds
from tests.clouds.faults import Fault, Harm
from tests.clouds.hub.control import Login
from tests.clouds.hub.model import Hiding
from tests.clouds.hub.sites import DOCKER_HUB, QUAY, SITES, Site
from tests.clouds.images import make_image
from tests.support.clock import ManualClock
from tests.support.gateway_policy import policy_through
from tests.support.registry_world import LeaseSource, lease_for
from vreg_shared.catalogue import catalogue
from vreg_shared.oci.digest import Digest
from vreg_shared.oci.reference import RepositoryName, Tag
from vreg_shared.provider import Answer, Verdict
from vreg_shared.rate_limit import RateLimit, RateLimitSource
from vreg_shared.registry_client import (
    BlobStream,
    Credentials,
    FixedCredentials,
    Manifest,
    ManifestDescriptor,
    RegistryClient,
    Target,
    open_upstream_session,
)

IMAGE = make_image("dance", 3000)
(LAYER,) = IMAGE.layers
PUBLIC, PRIVATE = RepositoryName.parse("library/alpine"), RepositoryName.parse("acme/private")
ONE = Tag("1")
EVERY_SITE = pytest.mark.parametrize("site", SITES, ids=lambda site: site.host)
Open = Callable[..., Awaitable[RegistryClient]]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[Clouds]:
    async with clouds(tmp_path) as running:
        for site in SITES:
            running.hub_repository(site.host, PUBLIC.value).push(IMAGE, "1")
            private = running.hub_repository(
                site.host, PRIVATE.value, is_public=False, readers=("robot$vreg",)
            )
            private.push(IMAGE, "1")
        yield running


@pytest.fixture
def heard() -> list[RateLimit]:
    """What the clients were told of rate limits."""
    return []


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def open_client(world: Clouds, heard: list[RateLimit], clock: ManualClock) -> AsyncIterator[Open]:
    policy, kind = policy_through(world), catalogue().kind("oci")
    async with AsyncExitStack() as stack:

        async def open_client(site: Site, credentials: Credentials | None = None) -> RegistryClient:
            target = Target("upstream", kind, site.host)
            session = await stack.enter_async_context(open_upstream_session(policy, target))
            given = credentials or FixedCredentials()
            return RegistryClient(target, session, given, clock, heard.append)

        yield open_client


def robot(world: Clouds, site: Site) -> Login:
    return world.hub.add_account(site.host, "robot$vreg")


def leased(site: Site, *logins: Login) -> LeaseSource:
    """Return credentials that go through these passwords, one after the other."""
    return LeaseSource(
        [
            lease_for(site.host, username=login.username, secret=login.password, version=version)
            for version, login in enumerate(logins, 1)
        ]
    )


def refusal(outcome: object) -> tuple[Answer, str]:
    assert isinstance(outcome, Verdict)
    return outcome.answer, outcome.reason


@EVERY_SITE
async def test_a_public_image_is_pulled_by_nobody_in_particular(
    world: Clouds, open_client: Open, site: Site
) -> None:
    client = await open_client(site)

    manifest = await client.get_manifest(PUBLIC, ONE)
    async with client.open_blob(PUBLIC, Digest.parse(LAYER)) as blob:
        assert isinstance(blob, BlobStream)
        assert b"".join([chunk async for chunk in blob.chunks]) == IMAGE.blobs[LAYER]

    assert isinstance(manifest, Manifest)
    assert manifest.body == IMAGE.manifest
    assert world.log.count(operation="Token", principal="anonymous") == 1
    assert not any(entry.has_authorization for entry in world.log.entries(service="hub-cdn"))


@EVERY_SITE
async def test_a_private_image_is_pulled_with_a_password_that_only_the_realm_sees(
    world: Clouds, open_client: Open, site: Site
) -> None:
    client = await open_client(site, leased(site, robot(world, site)))

    assert isinstance(await client.get_manifest(PRIVATE, ONE), Manifest)

    shown = {
        (entry.host, entry.path) for entry in world.log.entries(operation="Token") if entry.has_authorization
    }
    assert shown == {(site.realm_host, site.realm_path)}
    assert world.log.count(operation="Token", principal="robot$vreg", subject=PRIVATE.value) == 1
    assert world.log.count(service="hub", operation="*", principal="anonymous") == 0


@EVERY_SITE
@pytest.mark.parametrize("hiding", [Hiding.INSUFFICIENT_SCOPE, Hiding.DENIED, Hiding.AT_REALM])
async def test_what_may_not_be_read_is_hidden_however_it_is_said(
    world: Clouds, open_client: Open, site: Site, hiding: Hiding
) -> None:
    world.hub.set_hiding(hiding)
    stranger = world.hub.add_account(site.host, "stranger")
    for client in (await open_client(site), await open_client(site, leased(site, stranger))):
        for name in (PRIVATE, RepositoryName.parse("acme/nothing")):
            assert refusal(await client.get_manifest(name, ONE))[0] is Answer.HIDDEN


async def test_a_token_that_ends_in_the_middle_is_taken_anew_and_nobody_notices(
    world: Clouds, open_client: Open, clock: ManualClock
) -> None:
    source = leased(DOCKER_HUB, robot(world, DOCKER_HUB))
    client = await open_client(DOCKER_HUB, source)
    for turn in range(1, 4):
        assert isinstance(await client.get_manifest(PRIVATE, ONE), Manifest)
        assert world.log.count(operation="Token") == turn
        clock.advance(1)
        assert world.hub.expire_tokens() > 0
    assert source.refused == []


async def test_a_token_is_taken_anew_before_it_ends(
    world: Clouds, open_client: Open, clock: ManualClock
) -> None:
    client = await open_client(DOCKER_HUB, leased(DOCKER_HUB, robot(world, DOCKER_HUB)))
    for seconds, tokens in ((0, 1), (269, 1), (2, 2)):
        clock.advance(seconds)
        assert isinstance(await client.get_manifest(PRIVATE, ONE), Manifest)
        assert world.log.count(operation="Token") == tokens
    assert world.log.count(operation="GET manifests", status="401") == 0


@EVERY_SITE
async def test_a_revoked_password_is_refused_and_never_becomes_anonymous(
    world: Clouds, open_client: Open, site: Site, clock: ManualClock
) -> None:
    login = robot(world, site)
    client = await open_client(site, leased(site, login))
    assert isinstance(await client.get_manifest(PRIVATE, ONE), Manifest)

    world.hub.revoke_password(site.host, login.username, login.password)
    world.hub.expire_tokens()
    clock.advance(1)

    assert refusal(await client.get_manifest(PRIVATE, ONE)) == (Answer.REFUSED, "broker_says_no")
    assert refusal(await client.get_manifest(PUBLIC, ONE)) == (Answer.REFUSED, "broker_says_no")
    assert world.log.count(operation="Token", principal="anonymous") == 0


@EVERY_SITE
async def test_a_rotated_password_works_at_once(
    world: Clouds, open_client: Open, site: Site, clock: ManualClock
) -> None:
    old = robot(world, site)
    new = world.hub.add_password(site.host, old.username)
    source = leased(site, old, new)
    client = await open_client(site, source)
    assert isinstance(await client.get_manifest(PRIVATE, ONE), Manifest)

    world.hub.revoke_password(site.host, old.username, old.password)
    world.hub.expire_tokens()
    clock.advance(1)

    assert isinstance(await client.get_manifest(PRIVATE, ONE), Manifest)
    assert len(source.refused) == 1


async def test_a_new_lease_never_goes_on_with_the_old_ones_token(world: Clouds, open_client: Open) -> None:
    old = robot(world, DOCKER_HUB)
    source = leased(DOCKER_HUB, old, world.hub.add_password(DOCKER_HUB.host, old.username))
    client = await open_client(DOCKER_HUB, source)
    await client.get_manifest(PRIVATE, ONE)
    source.leases.pop(0)
    assert isinstance(await client.get_manifest(PRIVATE, ONE), Manifest)
    assert world.log.count(operation="Token", subject=PRIVATE.value) == 2


async def test_what_is_left_is_told_and_head_costs_nothing(
    world: Clouds, open_client: Open, heard: list[RateLimit]
) -> None:
    anonymous = await open_client(DOCKER_HUB)
    for _ in range(3):
        assert isinstance(await anonymous.head_manifest(PUBLIC, ONE), ManifestDescriptor)
    assert world.hub.pulls_counted() == 0
    await anonymous.get_manifest(PUBLIC, ONE)
    robots = await open_client(DOCKER_HUB, leased(DOCKER_HUB, robot(world, DOCKER_HUB)))
    await robots.get_manifest(PRIVATE, ONE)

    by_address, by_account = RateLimitSource.ADDRESS, RateLimitSource.ACCOUNT
    assert heard == [
        *(RateLimit(100, 100, 21600, by_address),) * 3,
        RateLimit(99, 100, 21600, by_address),
        RateLimit(199, 200, 21600, by_account),
    ]


async def test_who_counts_nothing_tells_nothing(
    world: Clouds, open_client: Open, heard: list[RateLimit]
) -> None:
    world.hub.set_rate_limit(account=None)
    paid = await open_client(DOCKER_HUB, leased(DOCKER_HUB, robot(world, DOCKER_HUB)))
    await paid.get_manifest(PRIVATE, ONE)
    await (await open_client(QUAY)).get_manifest(PUBLIC, ONE)
    assert heard == []


async def test_pulls_that_are_used_up_are_throttling_and_head_still_answers(
    world: Clouds, open_client: Open, heard: list[RateLimit]
) -> None:
    world.hub.set_rate_limit(anonymous=0)
    client = await open_client(DOCKER_HUB)
    assert refusal(await client.get_manifest(PUBLIC, ONE)) == (Answer.UNAVAILABLE, "throttled")
    assert heard == [RateLimit(0, 0, 21600, RateLimitSource.ADDRESS)]
    assert isinstance(await client.head_manifest(PUBLIC, ONE), ManifestDescriptor)


async def test_the_limiter_against_abuse_says_when_to_come_back(world: Clouds, open_client: Open) -> None:
    client = await open_client(DOCKER_HUB)
    await client.ping()
    world.faults.add(Fault(Harm.THROTTLE, service="hub", retry_after=7))
    outcome = await client.get_manifest(PUBLIC, ONE)
    assert isinstance(outcome, Verdict)
    assert (outcome.reason, outcome.retry_after) == ("throttled", 7)
    assert "HAP429" in outcome.detail
