"""The registry client on the last rung at Azure: a token for each repository, until its own `exp`."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.clouds.azure_scene import AzureScene, acr, set_azure_scene
from tests.clouds.clouds import Clouds, clouds
from tests.clouds.faults import Fault, Harm
from tests.clouds.images import make_image
from tests.support.clock import ManualClock
from tests.support.registry_world import LeaseSource, lease_for
from vreg_shared.catalogue import catalogue
from vreg_shared.clock import SystemClock
from vreg_shared.egress import EgressPolicy
from vreg_shared.lease import Lease
from vreg_shared.oci.digest import Digest
from vreg_shared.oci.reference import RepositoryName, parse_reference
from vreg_shared.provider import Answer, Verdict
from vreg_shared.providers.azure.registry import NOBODY
from vreg_shared.providers.basic.auth_methods import Password
from vreg_shared.registry_client import (
    FixedCredentials,
    RegistryClient,
    Target,
    open_upstream_session,
)
from vreg_shared.registry_client.challenges import permitted_realm
from vreg_shared.registry_client.results import BlobStream, Manifest, TagPage
from vreg_shared.secret import Secret
from vreg_shared.settings import EgressSettings
from vreg_token_broker.exchange import ExchangeOrder, ExchangeWorld, Issued
from vreg_token_broker.exchanges import find_exchanges

ACR = catalogue().kind("acr")
NAME = RepositoryName.parse("team-a/app")
OTHER = RepositoryName.parse("team-b/app")
TAG = parse_reference("1.0")
IMAGE = make_image("app", 3000)
READER = "Container Registry Repository Reader"
Open = Callable[..., Awaitable[RegistryClient]]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[Clouds]:
    async with clouds(tmp_path) as running:
        yield running


@pytest.fixture
def scene(world: Clouds) -> AzureScene:
    scene = set_azure_scene(world)
    for name in (NAME, OTHER):
        acr(world, scene.host, str(name)).push(IMAGE, "1.0", "1.1", "1.2")
    return scene


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(datetime.now(UTC))


@pytest.fixture
async def open_client(world: Clouds, scene: AzureScene, clock: ManualClock) -> AsyncIterator[Open]:
    """`open_client(*leases, host=...)`: no lease is somebody anonymous."""
    policy = EgressPolicy.from_settings(
        EgressSettings(https_proxy=world.gateway_url, ca_bundle=world.ca_bundle, no_proxy="127.0.0.1")
    )
    async with AsyncExitStack() as stack:

        async def opened(source: LeaseSource | Lease | None = None, host: str = "") -> RegistryClient:
            target = Target("upstream", ACR, host or scene.host)
            session = await stack.enter_async_context(open_upstream_session(policy, target))
            credentials = source if isinstance(source, LeaseSource) else FixedCredentials(source)
            return RegistryClient(target, session, credentials, clock)

        yield opened


def lease(world: Clouds, scene: AzureScene, version: int = 1, host: str = "") -> Lease:
    token = world.azure.refresh_token(scene.host, scene.app.object_id)
    return lease_for(host or scene.host, version=version, username=NOBODY, secret=token)


def scopes(world: Clouds) -> list[str]:
    return [entry.subject for entry in world.log.entries(service="acr", operation="Token")]


async def digest(client: RegistryClient, name: RepositoryName = NAME) -> str:
    manifest = await client.get_manifest(name, TAG)
    assert isinstance(manifest, Manifest), manifest
    return str(manifest.digest)


async def verdict(client: RegistryClient, name: RepositoryName = NAME, tag: str = "1.0") -> Verdict:
    manifest = await client.get_manifest(name, parse_reference(tag))
    assert isinstance(manifest, Verdict), manifest
    return manifest


async def blob(client: RegistryClient, name: RepositoryName = NAME) -> bytes | Verdict:
    async with client.open_blob(name, Digest.parse(IMAGE.layers[0])) as stream:
        if isinstance(stream, BlobStream):
            return b"".join([chunk async for chunk in stream.chunks])
        return stream


async def test_a_pull_takes_one_token_for_its_repository_and_never_asks_for_the_catalogue(
    world: Clouds, scene: AzureScene, open_client: Open
) -> None:
    client = await open_client(lease(world, scene))
    assert await digest(client) == IMAGE.digest
    assert await blob(client) == IMAGE.blobs[IMAGE.layers[0]]
    assert await digest(client) == IMAGE.digest
    assert scopes(world) == ["repository:team-a/app:pull"]
    assert world.log.count(operation="catalog") == 0
    (stored,) = world.log.entries(service="azure-storage")
    assert "//docker/registry/v2/blobs/" in stored.path
    assert not stored.has_authorization


async def test_each_repository_has_a_token_of_its_own(
    world: Clouds, scene: AzureScene, open_client: Open
) -> None:
    client = await open_client(lease(world, scene))
    await asyncio.gather(*(digest(client, name) for name in (NAME, OTHER, NAME, OTHER)))
    assert sorted(scopes(world)) == ["repository:team-a/app:pull", "repository:team-b/app:pull"]


async def test_a_token_is_used_until_shortly_before_its_exp(
    world: Clouds, scene: AzureScene, open_client: Open, clock: ManualClock
) -> None:
    world.azure.set_life(access=600)
    client = await open_client(lease(world, scene))
    await digest(client)
    clock.advance(560)
    await digest(client)
    assert len(scopes(world)) == 1
    clock.advance(20)
    await digest(client)
    assert len(scopes(world)) == 2


async def test_tags_need_a_token_that_may_read_metadata(
    world: Clouds, scene: AzureScene, open_client: Open
) -> None:
    client = await open_client(lease(world, scene))
    page = await client.list_tags(NAME, n=2)
    assert isinstance(page, TagPage), page
    assert [str(tag) for tag in page.tags] == ["1.0", "1.1"]
    assert scopes(world)[-1] == "repository:team-a/app:pull repository:team-a/app:metadata_read"
    assert page.next_page is not None
    rest = await client.list_tags(NAME, page=page.next_page)
    assert isinstance(rest, TagPage), rest
    assert [str(tag) for tag in rest.tags] == ["1.2"]


@pytest.mark.parametrize("reduces", [True, False])
async def test_repository_permissions_open_the_repositories_of_the_condition_alone(
    world: Clouds,
    scene: AzureScene,
    open_client: Open,
    reduces: bool,  # noqa: FBT001 - a column
) -> None:
    world.azure.set_reduces_access(is_so=reduces)
    world.azure.set_abac(scene.host, is_so=True)
    world.azure.grant(scene.host, scene.app.object_id, READER, repositories=("Team-A/*",))
    client = await open_client(lease(world, scene))
    assert await digest(client) == IMAGE.digest
    closed = await verdict(client, OTHER)
    if reduces:
        assert (closed.answer, closed.reason) == (Answer.HIDDEN, "permission_denied")
    else:  # the same 401 as for a refresh token that ended, and nobody could replace it
        assert closed.answer is Answer.REFUSED


async def test_acr_pull_on_a_registry_with_repository_permissions_is_no_permission(
    world: Clouds, scene: AzureScene, open_client: Open
) -> None:
    world.azure.set_abac(scene.host, is_so=True)
    answer = await verdict(await open_client(lease(world, scene)))
    assert (answer.answer, answer.reason) == (Answer.HIDDEN, "permission_denied")
    assert "retrieving permissions failed" in answer.detail


async def test_one_repository_may_be_denied(world: Clouds, scene: AzureScene, open_client: Open) -> None:
    world.azure.deny(scene.host, scene.app.object_id, str(OTHER))
    client = await open_client(lease(world, scene))
    assert await digest(client) == IMAGE.digest
    assert (await verdict(client, OTHER)).reason == "permission_denied"


@pytest.mark.parametrize("way", ["ended", "rotated"])
async def test_a_refresh_token_that_is_good_no_more_is_replaced_by_one_lease(
    world: Clouds, scene: AzureScene, open_client: Open, clock: ManualClock, way: str
) -> None:
    source = LeaseSource([lease(world, scene)])
    client = await open_client(source)
    await digest(client)
    if way == "ended":
        world.azure.end_tokens()
    else:
        world.azure.rotate_registry_key()
    source.leases.append(lease(world, scene, version=2))
    clock.advance(1)
    assert [await digest(client, name) for name in (NAME, OTHER)] == [IMAGE.digest, IMAGE.digest]
    assert [generation.identity_version for generation in source.refused] == [1]


async def test_an_access_token_that_ended_early_is_replaced_without_a_new_lease(
    world: Clouds, scene: AzureScene, open_client: Open, clock: ManualClock
) -> None:
    source = LeaseSource([lease(world, scene)])
    client = await open_client(source)
    await digest(client)
    world.azure.end_tokens()
    source.leases[0] = lease(world, scene)
    clock.advance(1)
    assert await digest(client) == IMAGE.digest
    assert source.refused == []


async def test_what_is_not_there_is_absent(world: Clouds, scene: AzureScene, open_client: Open) -> None:
    client = await open_client(lease(world, scene))
    nowhere = await verdict(client, RepositoryName.parse("team-a/nothing"))
    assert (nowhere.answer, nowhere.reason) == (Answer.ABSENT, "repository_unknown")
    untagged = await verdict(client, NAME, "9.9")
    assert (untagged.answer, untagged.reason) == (Answer.ABSENT, "manifest_unknown")


async def test_a_firewall_makes_the_registry_unavailable_and_says_whom_it_blocks(
    world: Clouds, scene: AzureScene, open_client: Open
) -> None:
    source = LeaseSource([lease(world, scene)])
    client = await open_client(source)
    await digest(client)
    world.azure.set_firewall(scene.host, "203.0.113.7")
    answer = await verdict(client)
    assert (answer.answer, answer.reason) == (Answer.UNAVAILABLE, "network_firewall")
    assert "203.0.113.7" in answer.detail
    assert source.refused == []


async def test_anybody_may_pull_where_the_registry_lets_them_and_nobody_where_not(
    world: Clouds, scene: AzureScene, open_client: Open
) -> None:
    closed = await verdict(await open_client())
    assert (closed.answer, closed.reason) == (Answer.HIDDEN, "authentication_required")
    world.azure.set_anonymous_pull(scene.host, is_so=True)
    client = await open_client()
    assert await digest(client) == IMAGE.digest
    assert await blob(client) == IMAGE.blobs[IMAGE.layers[0]]


async def test_blobs_may_come_from_a_data_endpoint(
    world: Clouds, scene: AzureScene, open_client: Open
) -> None:
    world.azure.set_data_endpoint(scene.host, is_so=True)
    assert await blob(await open_client(lease(world, scene))) == IMAGE.blobs[IMAGE.layers[0]]
    assert world.log.count(host="contoso.eastus.data.azurecr.io") == 1


async def test_a_regional_endpoint_is_a_registry_like_any(
    world: Clouds, scene: AzureScene, open_client: Open
) -> None:
    host = "contoso.eastus.geo.azurecr.io"
    client = await open_client(lease(world, scene, host=host), host)
    assert await digest(client) == IMAGE.digest
    assert {entry.host for entry in world.log.entries(service="acr")} == {host}


async def test_a_lease_of_one_registry_is_shown_to_no_other(
    world: Clouds, scene: AzureScene, open_client: Open
) -> None:
    other = world.azure.add_registry("fabrikam", scene.tenant)
    answer = await verdict(await open_client(lease(world, scene), other))
    assert (answer.answer, answer.reason) == (Answer.REFUSED, "lease_not_for_host")
    assert world.log.count(host=other) == 0


@pytest.mark.parametrize(
    ("fault", "reason"),
    [(Fault(Harm.THROTTLE, path="/oauth2/token"), "throttled"), (Fault(Harm.FAIL), "upstream_error")],
)
async def test_a_registry_that_is_unwell_is_unavailable(
    world: Clouds, scene: AzureScene, open_client: Open, fault: Fault, reason: str
) -> None:
    world.faults.add(fault)
    client = await open_client(lease(world, scene))
    answer = await verdict(client)
    assert (answer.answer, answer.reason) == (Answer.UNAVAILABLE, reason)
    assert await digest(client) == IMAGE.digest


@pytest.mark.parametrize(
    "realm",
    [
        "https://evil.example/oauth2/token",
        "http://contoso.azurecr.io/oauth2/token",
        "https://contoso.azurecr.io:8443/oauth2/token",
        "https://contoso.azurecr.io.evil.example/oauth2/token",
        "https://evil.example@contoso.azurecr.io/oauth2/token",
        "https://contoso.azurecr.io@evil.example/oauth2/token",
        "https://fabrikam.azurecr.io/oauth2/token",
        "https://contoso.eastus.geo.azurecr.io/oauth2/token",
        "https://contoso.eastus.data.azurecr.io/oauth2/token",
        "https://login.microsoftonline.com/oauth2/token",
        "https://169.254.169.254/oauth2/token",
        "https://[::1]/oauth2/token",
        "",
    ],
)
def test_a_refresh_token_goes_to_no_other_token_endpoint(realm: str) -> None:
    target = Target("upstream", ACR, "contoso.azurecr.io")
    assert permitted_realm(realm, target) is None
    assert permitted_realm("https://contoso.azurecr.io/oauth2/token", target) is not None


class TestPasswords:
    """Scope-map tokens and the admin user: no Entra, the same ladder."""

    async def lease(self, scene: AzureScene, username: str, password: str) -> Lease:
        method = Password(username=username, password=Secret(password))
        order = ExchangeOrder("identity", "external", method, ACR, scene.host)
        exchange = find_exchanges(catalogue(), ExchangeWorld(SystemClock(), EgressPolicy()))["basic"]
        outcome = await exchange.lease_for(order)
        assert isinstance(outcome, Issued), outcome
        credential = outcome.credential
        return lease_for(scene.host, username=credential.username, secret=credential.secret.reveal())

    async def test_a_scope_map_token_reads_what_its_scope_map_names(
        self, world: Clouds, scene: AzureScene, open_client: Open
    ) -> None:
        password = world.azure.add_token(scene.host, "vreg", {str(NAME): ("content/read", "metadata/read")})
        client = await open_client(await self.lease(scene, "vreg", password))
        assert await digest(client) == IMAGE.digest
        assert await blob(client) == IMAGE.blobs[IMAGE.layers[0]]
        assert isinstance(await client.list_tags(NAME), TagPage)
        assert (await verdict(client, OTHER)).answer is Answer.HIDDEN
        assert world.log.count(service="entra") == 0

    async def test_one_that_was_switched_off_is_refused(
        self, world: Clouds, scene: AzureScene, open_client: Open
    ) -> None:
        password = world.azure.add_token(scene.host, "vreg", {str(NAME): ("content/read",)})
        world.azure.disable_token(scene.host, "vreg")
        answer = await verdict(await open_client(await self.lease(scene, "vreg", password)))
        assert (answer.answer, answer.reason) == (Answer.REFUSED, "credential_rejected")

    async def test_the_admin_user_reads_everything(
        self, world: Clouds, scene: AzureScene, open_client: Open
    ) -> None:
        world.azure.set_admin_password(scene.host, "an-admin-password")
        client = await open_client(await self.lease(scene, "contoso", "an-admin-password"))
        assert [await digest(client, name) for name in (NAME, OTHER)] == [IMAGE.digest] * 2
