"""Pulls from Docker Hub and its like as they are emulated: what is asked, what is counted, what is told."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.clouds.clouds import Clouds, clouds
from tests.clouds.hub.control import Login
from tests.clouds.hub.sites import DOCKER_HUB, GITLAB, QUAY, Site
from tests.clouds.images import Image, make_image
from tests.proxy.proxy_world import ProxyWorld, proxy_world
from tests.support.clock import ManualClock
from tests.support.gateway_policy import policy_through
from tests.support.logs import captured_logs
from tests.support.registry_world import lease_for
from vreg_proxy.credentials import CALM_SECONDS
from vreg_proxy.rate_limits import RateLimits
from vreg_shared.messages.refresh import RefreshReply
from vreg_shared.messages.upstream import UpstreamRecord
from vreg_shared.providers.basic.registry import lease_scope
from vreg_shared.rate_limit import RateLimit, RateLimitSource

IMAGE, NEWER = make_image("one", 2000), make_image("two", 2000)
VALIDITY = 60


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[Clouds]:
    async with clouds(tmp_path / "clouds") as running:
        yield running


@pytest.fixture
async def proxy(tmp_path: Path, world: Clouds) -> AsyncIterator[ProxyWorld]:
    async with proxy_world(tmp_path / "cache", policy_through(world)) as running:
        yield running


def upstream(proxy: ProxyWorld, site: Site, **fields: object) -> None:
    """Serve a site, and nothing else, as the registry `team`."""
    record = UpstreamRecord(id="up", name="up", kind="oci", host=site.host, tag_validity_seconds=VALIDITY)
    proxy.put("upstream", record.model_copy(update=fields))
    proxy.registry("team", "up", anonymous_pull=True)


def lend(proxy: ProxyWorld, site: Site, login: Login, version: int = 1) -> None:
    """Publish a password as the broker does."""
    lease = lease_for(site.host, username=login.username, secret=login.password, version=version)
    proxy.put_lease(replace(lease, scope=lease_scope("identity", site.host)))


def push(world: Clouds, site: Site, name: str, image: Image = IMAGE, *, is_public: bool = True) -> None:
    world.hub_repository(site.host, name, is_public=is_public, readers=("robot$vreg",)).push(image, "1")


async def test_an_official_image_is_asked_for_below_library_from_the_first_scope_on(
    world: Clouds, proxy: ProxyWorld
) -> None:
    push(world, DOCKER_HUB, "library/alpine")
    upstream(proxy, DOCKER_HUB)

    answer = await proxy.get("/v2/team/alpine/manifests/1")

    assert (answer.status, answer.body) == (200, IMAGE.manifest)
    subjects = {entry.subject for entry in world.log.entries(operation="Token")}
    assert subjects == {"library/alpine"}
    assert all(
        "/library/alpine/" in entry.path for entry in world.log.entries(service="hub", path="*manifests*")
    )


async def test_nobody_elses_names_are_changed(world: Clouds, proxy: ProxyWorld) -> None:
    push(world, QUAY, "alpine")
    upstream(proxy, QUAY)
    assert (await proxy.get("/v2/team/alpine/manifests/1")).status == 200
    assert {entry.subject for entry in world.log.entries(operation="Token")} == {"alpine"}


async def test_a_tag_is_revalidated_without_a_counted_pull(world: Clouds, proxy: ProxyWorld) -> None:
    push(world, DOCKER_HUB, "library/alpine")
    upstream(proxy, DOCKER_HUB)
    for _ in range(5):
        assert (await proxy.get("/v2/team/alpine/manifests/1")).body == IMAGE.manifest
        proxy.clock.advance(VALIDITY + 1)
    assert world.log.count(operation="GET manifests", status="200") == 1
    assert world.log.count(operation="HEAD manifests", status="200") == 4
    assert world.hub.pulls_counted() == 1

    push(world, DOCKER_HUB, "library/alpine", NEWER)
    assert (await proxy.get("/v2/team/alpine/manifests/1")).body == NEWER.manifest
    assert world.hub.pulls_counted() == 2


async def test_used_up_pulls_serve_what_is_held_and_tell_the_truth_about_the_rest(
    world: Clouds, proxy: ProxyWorld
) -> None:
    push(world, DOCKER_HUB, "library/alpine")
    push(world, DOCKER_HUB, "library/nginx")
    world.hub.set_rate_limit(anonymous=1)
    upstream(proxy, DOCKER_HUB)
    await proxy.get("/v2/team/alpine/manifests/1")
    proxy.clock.advance(VALIDITY + 1)

    held = await proxy.get("/v2/team/alpine/manifests/1")
    other = await proxy.get("/v2/team/nginx/manifests/1")

    assert (held.status, held.body) == (200, IMAGE.manifest)
    assert (other.status, other.error_code()) == (429, "TOOMANYREQUESTS")
    assert "docker.com" not in json.dumps(other.body.decode()), "an upstream's words stay with us"


@pytest.mark.parametrize("site", [DOCKER_HUB, GITLAB, QUAY], ids=lambda site: site.host)
async def test_a_password_that_is_revoked_is_refused_until_another_is_lent(
    world: Clouds, proxy: ProxyWorld, site: Site
) -> None:
    push(world, site, "acme/app", is_public=False)
    login = world.hub.add_account(site.host, "robot$vreg")
    upstream(proxy, site, identity_id="identity", stale_for=())
    proxy.broker.answer = lambda _: RefreshReply(outcome="refused", reason="credential_rejected")
    lend(proxy, site, login)
    assert (await proxy.get("/v2/team/acme/app/manifests/1")).status == 200

    world.hub.revoke_password(site.host, login.username, login.password)
    world.hub.expire_tokens()
    proxy.clock.advance(VALIDITY + 1)
    refused = await proxy.get("/v2/team/acme/app/manifests/1")
    lend(proxy, site, world.hub.add_password(site.host, login.username), version=2)
    mended = await proxy.get("/v2/team/acme/app/manifests/1")

    assert (refused.status, refused.error_code()) == (403, "DENIED")
    assert refused.reason() == "credential_rejected"
    assert mended.status == 200
    assert world.log.count(operation="Token", principal="anonymous", status="200") == 0


async def test_a_dead_password_is_not_shown_with_every_pull(world: Clouds, proxy: ProxyWorld) -> None:
    push(world, QUAY, "acme/app", is_public=False)
    login = world.hub.add_account(QUAY.host, "robot$vreg")
    world.hub.revoke_password(QUAY.host, login.username, login.password)
    upstream(proxy, QUAY, identity_id="identity")
    proxy.broker.answer = lambda _: RefreshReply(outcome="refused", reason="credential_rejected")
    lend(proxy, QUAY, login)

    for tries in (1, 2):
        for _ in range(20):
            refused = await proxy.get("/v2/team/acme/app/manifests/1")
            assert (refused.status, refused.reason()) == (403, "credential_rejected")
        assert world.log.count(operation="Token", status="401") == tries
        proxy.clock.advance(CALM_SECONDS)

    lend(proxy, QUAY, world.hub.add_password(QUAY.host, login.username), version=2)
    assert (await proxy.get("/v2/team/acme/app/manifests/1")).status == 200


async def test_the_latest_limit_of_an_upstream_is_kept_until_it_is_another_one(
    world: Clouds, proxy: ProxyWorld
) -> None:
    push(world, DOCKER_HUB, "library/alpine")
    push(world, QUAY, "alpine")
    upstream(proxy, DOCKER_HUB)
    assert proxy.pulls.rate_limits.latest("up") is None

    await proxy.get("/v2/team/alpine/manifests/1")
    latest = proxy.pulls.rate_limits.latest("up")
    assert latest is not None
    assert latest.rate_limit == RateLimit(99, 100, 21600, RateLimitSource.ADDRESS)
    assert latest.observed_at == proxy.clock.now()

    upstream(proxy, QUAY)
    await proxy.get("/v2/team/alpine/manifests/1")
    assert proxy.pulls.rate_limits.latest("up") is None


def test_little_left_is_told_once_a_window() -> None:
    clock = ManualClock()
    with captured_logs("proxy") as text:
        hear = RateLimits(clock).listener("up")
        for remaining in (100, 10, 9, 8, 0):
            hear(RateLimit(remaining, 100, 3600, RateLimitSource.ACCOUNT))
        clock.advance(3599)
        hear(RateLimit(1, 100, 3600))
        clock.advance(2)
        hear(RateLimit(3, 100, 3600))
        hear(RateLimit(0))
    lines = [json.loads(line) for line in text.getvalue().splitlines()]
    assert [(line["event"], line["level"], line["remaining"]) for line in lines] == [
        ("rate_limit_low", "warning", 9),
        ("rate_limit_low", "warning", 3),
    ]
    assert (lines[0]["upstream"], lines[0]["limit"], lines[0]["source"]) == ("up", 100, "account")


def test_a_client_that_was_replaced_says_nothing_any_more() -> None:
    rate_limits = RateLimits(ManualClock())
    replaced = rate_limits.listener("up")
    rate_limits.listener("up")
    replaced(RateLimit(5))
    assert rate_limits.latest("up") is None
