"""Docker Hub, GitLab, GHCR and a Quay of one's own: set up through the API, pulled from with a password."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.clients.puller import Puller
from tests.clouds.clouds import Clouds, clouds
from tests.clouds.hub.control import Login
from tests.clouds.hub.sites import DOCKER_HUB, SITES, Site
from tests.clouds.images import Image, make_image
from tests.e2e.admin import Admin
from tests.e2e.stack import Stack, stack
from tests.support.wait import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

ROBOT = "robot$vreg"
EVERY_SITE = pytest.mark.parametrize("site", SITES, ids=lambda site: site.host)


@dataclass
class Stage:
    """A vreg with two upstreams of each site: one anonymous, below `public-N`, one not, below `private-N`."""

    clouds: Clouds
    stack: Stack
    logins: dict[str, Login]
    identities: dict[str, dict[str, Any]]
    upstreams: dict[str, str]
    token: str

    def push(self, site: Site, name: str, image: Image, *, is_public: bool) -> None:
        repository = self.clouds.hub_repository(site.host, name, is_public=is_public, readers=(ROBOT,))
        repository.push(image, "1")

    def puller(self) -> Puller:
        return Puller(self.stack.proxy, self.token)

    async def rotate(self, site: Site) -> None:
        """Give the identity of a site another password, as a person does."""
        identity = self.identities[site.host]
        login = self.clouds.hub.add_password(site.host, ROBOT)
        answer = await self.stack.call(
            "PATCH",
            f"/identities/{identity['id']}",
            json={"auth_method": {"method": "basic.password", "password": login.password}},
            headers={"If-Match": f'"{identity["version"]}"'},
        )
        assert answer.status_code == 200, answer.text
        self.identities[site.host], self.logins[site.host] = answer.json(), login

    def revoke(self, site: Site, login: Login) -> None:
        """Let a password and all tokens got with it be worth nothing."""
        self.clouds.hub.revoke_password(site.host, login.username, login.password)
        self.clouds.hub.expire_tokens()


def slug(kind: str, site: Site) -> str:
    return f"{kind}-{SITES.index(site)}"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    folder: Path = tmp_path_factory.mktemp("generic")
    async with clouds(folder / "clouds", is_separate=True) as world:
        settings = {**world.environment, "VREG_EGRESS_ALLOWED_NAMES": "*.example.test"}
        async with stack(folder, environment=settings, workers=2) as vreg:
            yield await set_up(world, vreg)


async def set_up(world: Clouds, vreg: Stack) -> Stage:
    admin = Admin(vreg)
    running = Stage(world, vreg, {}, {}, {}, "")
    for site in SITES:
        login = running.logins[site.host] = world.hub.add_account(site.host, ROBOT)
        method = {"method": "basic.password", "username": ROBOT, "password": login.password}
        identity = await admin.identity(site.host, method, {"hosts": [site.host]})
        running.identities[site.host] = identity
        for kind, identity_id in (("public", None), ("private", identity["id"])):
            name = slug(kind, site)
            upstream = await admin.upstream(name, "oci", site.host, identity_id, tag_validity_seconds=0)
            running.upstreams[name] = upstream
            await admin.registry(name, [upstream])
    _, running.token = await admin.access_token("client")

    async def is_served() -> bool:
        async with running.puller() as puller:
            return await puller.status("") == 200

    await eventually(is_served, deadline=20)
    return running


@EVERY_SITE
async def test_public_and_private_images_are_pulled(stage: Stage, site: Site) -> None:
    images = {"public": make_image(f"public {site.host}"), "private": make_image(f"private {site.host}")}
    async with stage.puller() as puller:
        for kind, image in images.items():
            stage.push(site, f"acme/{kind}", image, is_public=kind == "public")

            async def is_known(kind: str = kind) -> bool:
                return await puller.status(f"{slug(kind, site)}/acme/{kind}/manifests/1") != 404

            await eventually(is_known)
            assert (await puller.pull(f"{slug(kind, site)}/acme/{kind}", "1")).digest == image.digest
        assert await puller.status(f"{slug('public', site)}/acme/private/manifests/1") == 403


@EVERY_SITE
async def test_a_rotated_password_works_at_once_and_a_revoked_one_is_refused(
    stage: Stage, site: Site
) -> None:
    name = f"acme/rotated-{SITES.index(site)}"
    old = stage.logins[site.host]
    path = f"{slug('private', site)}/{name}/manifests/1"
    stage.push(site, name, make_image(name), is_public=False)
    async with stage.puller() as puller:

        async def status() -> int:
            return await puller.status(path)

        async def is_served() -> bool:
            return await status() == 200

        assert await is_served()
        await stage.rotate(site)
        stage.revoke(site, old)
        await eventually(is_served, deadline=5)
        assert [await status() for _ in range(4)] == [200] * 4

        stage.revoke(site, stage.logins[site.host])
        assert {await status() for _ in range(4)} == {403}
        await stage.rotate(site)
        await eventually(is_served, deadline=5)


async def test_the_api_shows_what_docker_hub_has_left_and_head_costs_nothing(stage: Stage) -> None:
    stage.clouds.hub.forget_pulls()
    upstream = stage.upstreams[slug("public", DOCKER_HUB)]
    image = make_image("counted")
    stage.push(DOCKER_HUB, "library/counted", image, is_public=True)
    async with stage.puller() as puller:
        for _ in range(6):
            assert (await puller.pull(f"{slug('public', DOCKER_HUB)}/counted", "1")).digest == image.digest
    assert stage.clouds.hub.pulls_counted() == 1

    answer = await stage.stack.call("GET", f"/upstreams/{upstream}/rate_limit")

    told = answer.json()
    assert (answer.status_code, told["proxy_processes"]) == (200, 2)
    assert (told["limit"], told["remaining"], told["window_seconds"]) == (100, 99, 21600)
    assert told["source"] == "address"
