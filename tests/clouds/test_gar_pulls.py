"""vreg's own registry client against the emulated Artifact Registry: anonymous, by token, and refused."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.clouds.clouds import Clouds, clouds
from tests.clouds.gcp.repository import GarImages
from tests.clouds.gcp.scene import IMAGE, LOCATION, PROJECT, PULLER, REPOSITORY, Scene, set_scene
from vreg_shared.catalogue import catalogue
from vreg_shared.clock import SystemClock
from vreg_shared.egress import EgressPolicy
from vreg_shared.lease import Generation, Lease, RegistryCredential
from vreg_shared.oci.digest import Digest
from vreg_shared.oci.reference import RepositoryName, parse_reference
from vreg_shared.provider import Answer, Presentation, Verdict
from vreg_shared.registry_client import Credentials, RegistryClient, Target, open_upstream_session
from vreg_shared.secret import Secret
from vreg_shared.settings import EgressSettings

GAR = catalogue().kind("gar")
MEMBER = f"serviceAccount:{PULLER}"


class Nobody:
    """An upstream without identity."""

    async def current(self) -> Lease | None:
        return None

    async def replace(self, refused: Generation) -> Lease:
        raise AssertionError(f"nobody has no {refused}")


class Holder:
    """A lease, and the next one."""

    def __init__(self, clouds: Clouds, host: str) -> None:
        self._clouds = clouds
        self._host = host
        self.number = 0
        self._lease = self._next()

    async def current(self) -> Lease:
        return self._lease

    async def replace(self, refused: Generation) -> Lease:
        assert refused == self._lease.generation
        self._lease = self._next()
        return self._lease

    def _next(self) -> Lease:
        self.number += 1
        now = datetime.now(UTC)
        return Lease(
            scope=GAR.lease_scope("id", self._host),
            identity_id="id",
            hosts=(self._host,),
            generation=Generation(1, self.number, "test"),
            issued_at=now,
            refresh_at=None,
            not_after=now + timedelta(hours=1),
            credential=RegistryCredential(
                "oauth2accesstoken", Secret(self._clouds.gcp.issue_token(MEMBER)), Presentation.BEARER
            ),
            repositories=(PROJECT,),
        )


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[Clouds]:
    async with clouds(tmp_path) as running:
        yield running


@pytest.fixture
def scene(world: Clouds) -> Scene:
    return set_scene(world)


@asynccontextmanager
async def client_of(world: Clouds, host: str, credentials: Credentials) -> AsyncIterator[RegistryClient]:
    settings = EgressSettings(https_proxy=world.gateway_url, ca_bundle=world.ca_bundle, no_proxy="")
    target = Target("upstream", GAR, host)
    async with open_upstream_session(EgressPolicy.from_settings(settings), target) as session:
        yield RegistryClient(target, session, credentials, SystemClock())


async def pull(client: RegistryClient, path: str) -> Verdict | bytes:
    """Return the bytes of the image's layer, found by its tag."""
    name = RepositoryName.parse(path)
    manifest = await client.get_manifest(name, parse_reference("1.0"))
    if isinstance(manifest, Verdict):
        return manifest
    async with client.open_blob(name, Digest.parse(IMAGE.layers[0])) as stream:
        if isinstance(stream, Verdict):
            return stream
        return b"".join([chunk async for chunk in stream.chunks])


async def test_everybody_pulls_what_is_for_everybody_by_a_token_of_the_registrys_own(
    world: Clouds, scene: Scene
) -> None:
    async with client_of(world, scene.host, Nobody()) as client:
        hidden = await pull(client, scene.path)
        world.gcp.grant(PROJECT, LOCATION, REPOSITORY, "allUsers")
        assert await pull(client, scene.path) == IMAGE.blobs[IMAGE.layers[0]]
    assert isinstance(hidden, Verdict)
    assert (hidden.answer, hidden.reason) == (Answer.HIDDEN, "identity_needed")
    assert world.log.count(service="gar", operation="Token", status="200") == 1


async def test_a_registry_that_refuses_nobody_at_the_token_endpoint_hides_the_same(
    world: Clouds, scene: Scene
) -> None:
    world.gcp.set_switch("anonymous_is_refused_at_token", is_so=True)
    async with client_of(world, scene.host, Nobody()) as client:
        verdict = await pull(client, scene.path)
    assert isinstance(verdict, Verdict)
    assert verdict.answer is Answer.HIDDEN


@pytest.mark.parametrize("stores_apart", [False, True])
async def test_gcr_is_pulled_from_wherever_it_keeps_its_blobs(
    world: Clouds, scene: Scene, *, stores_apart: bool
) -> None:
    del scene
    images = world.gar(PROJECT, "us", "gcr.io", "app", readers=(MEMBER,))
    images.push(IMAGE, "1.0")
    world.gcp.set_switch("gcr_stores_apart", is_so=stores_apart)
    async with client_of(world, images.host, Holder(world, images.host)) as client:
        assert await pull(client, images.path) == IMAGE.blobs[IMAGE.layers[0]]
    assert world.log.count(service="storage") == int(stores_apart)


async def test_a_token_that_ended_without_a_challenge_is_replaced_once(world: Clouds, scene: Scene) -> None:
    holder = Holder(world, scene.host)
    async with client_of(world, scene.host, holder) as client:
        assert isinstance(await pull(client, scene.path), bytes)
        world.gcp.expire_tokens()
        assert isinstance(await pull(client, scene.path), bytes)
    assert holder.number == 2


async def test_a_forbidden_repository_is_hidden_and_asked_for_once(world: Clouds, scene: Scene) -> None:
    world.gcp.deny(PROJECT, LOCATION, REPOSITORY, MEMBER)
    holder = Holder(world, scene.host)
    async with client_of(world, scene.host, holder) as client:
        verdict = await pull(client, scene.path)
    assert isinstance(verdict, Verdict)
    assert (verdict.answer, verdict.reason) == (Answer.HIDDEN, "permission_or_not_found")
    assert holder.number == 1
    assert world.log.count(service="gar") == 1


async def test_a_lease_is_not_sent_to_another_project(world: Clouds, scene: Scene) -> None:
    other: GarImages = world.gar("another-project", LOCATION, "r", "app", readers=(MEMBER,))
    other.push(IMAGE, "1.0")
    async with client_of(world, scene.host, Holder(world, scene.host)) as client:
        verdict = await pull(client, other.path)
    assert isinstance(verdict, Verdict)
    assert (verdict.answer, verdict.reason) == (Answer.REFUSED, "lease_not_for_repository")
    assert world.log.count(service="gar") == 0


async def test_tags_are_read_past_the_maps_that_come_with_them(world: Clouds, scene: Scene) -> None:
    async with client_of(world, scene.host, Holder(world, scene.host)) as client:
        page = await client.list_tags(RepositoryName.parse(scene.path))
    assert not isinstance(page, Verdict)
    assert [str(tag) for tag in page.tags] == ["1.0"]
