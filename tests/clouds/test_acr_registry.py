"""The emulated Azure Container Registry: exchange, tokens, data plane and storage, over the wire."""

import base64
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from tests.clouds.azure.acr_login import NOBODY
from tests.clouds.azure.jwt import part
from tests.clouds.azure_scene import AcrRepository, AzureScene, acr, set_azure_scene
from tests.clouds.clouds import Clouds, clouds
from tests.clouds.faults import Fault, Harm
from tests.clouds.images import Image, make_image

NAME = "team/app"
IMAGE = make_image("app", 3000)
PULL = f"repository:{NAME}:pull"
TAGS = f"repository:{NAME}:metadata_read"
ARM = "https://management.azure.com"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[Clouds]:
    async with clouds(tmp_path) as running:
        yield running


@pytest.fixture
def scene(world: Clouds) -> AzureScene:
    return set_azure_scene(world)


@pytest.fixture
def repository(world: Clouds, scene: AzureScene) -> AcrRepository:
    repository = acr(world, scene.host, NAME)
    repository.push(IMAGE, "1.0", "1.1", "1.2")
    return repository


@pytest.fixture
async def client(world: Clouds, repository: AcrRepository) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody without a token, who follows no redirects."""
    async with world.http_client() as client:
        client.base_url = httpx.URL(f"https://{repository.host}")
        yield client


def error(answer: httpx.Response) -> tuple[int, str, str]:
    (only,) = answer.json()["errors"]
    return answer.status_code, only["code"], only["message"]


async def exchange(client: httpx.AsyncClient, entra_token: str, **changes: str) -> httpx.Response:
    host = client.base_url.host
    form = {"grant_type": "access_token", "service": host, "access_token": entra_token} | changes
    return await client.post("/oauth2/exchange", data=form)


async def access(client: httpx.AsyncClient, refresh_token: str, *scopes: str) -> httpx.Response:
    query = [("service", client.base_url.host), *(("scope", scope) for scope in scopes)]
    return await client.get("/oauth2/token", params=query, auth=(NOBODY, refresh_token))


async def bearer(client: httpx.AsyncClient, world: Clouds, scene: AzureScene, *scopes: str) -> dict[str, str]:
    token = world.azure.refresh_token(scene.host, scene.app.object_id)
    answer = await access(client, token, *scopes)
    return {"Authorization": f"Bearer {answer.json()['access_token']}"}


class TestExchange:
    async def test_a_token_of_entra_becomes_a_refresh_token_without_expires_in(
        self, world: Clouds, scene: AzureScene, client: httpx.AsyncClient
    ) -> None:
        answer = await exchange(client, world.azure.entra_token(scene.app.client_id, scene.tenant))
        assert answer.json().keys() == {"refresh_token"}
        parted = part(answer.json()["refresh_token"])
        assert parted.header["kid"].count(":") == 11
        claims = parted.claims
        assert (claims["iss"], claims["aud"]) == ("Azure Container Registry", scene.host)
        assert (claims["sub"], claims["grant_type"]) == (scene.app.object_id, "refresh_token")
        assert claims["permissions"]["actions"] == ["read"]
        assert claims["exp"] - claims["iat"] == pytest.approx(11_700, abs=1)
        assert claims["exp"] - time.time() == pytest.approx(10_800, abs=5)

    @pytest.mark.parametrize("changes", [{"service": "other.azurecr.io"}, {"grant_type": "password"}])
    async def test_the_form_must_be_right(
        self, world: Clouds, scene: AzureScene, client: httpx.AsyncClient, changes: dict[str, str]
    ) -> None:
        token = world.azure.entra_token(scene.app.client_id, scene.tenant)
        assert (await exchange(client, token, **changes)).status_code == 400

    async def test_what_is_no_token_of_entra_for_registries_is_401(
        self, world: Clouds, scene: AzureScene, client: httpx.AsyncClient
    ) -> None:
        elsewhere = world.azure.add_tenant("elsewhere.example")
        app = world.azure.add_app(elsewhere, "other")
        good = world.azure.entra_token(scene.app.client_id, scene.tenant)
        forged = good.rpartition(".")[0] + "." + "A" * 342
        vault = world.azure.entra_token(scene.app.client_id, scene.tenant, "https://vault.azure.net")
        for token in ("", "opaque", forged, vault, world.azure.entra_token(app.client_id, elsewhere)):
            assert error(await exchange(client, token))[:2] == (401, "UNAUTHORIZED")
        world.azure.set_life(entra=-1)
        ended = world.azure.entra_token(scene.app.client_id, scene.tenant)
        assert (await exchange(client, ended)).status_code == 401
        world.azure.rotate_entra_key()
        assert (await exchange(client, good)).status_code == 401

    async def test_tokens_for_resource_manager_work_until_the_registry_is_hardened(
        self, world: Clouds, scene: AzureScene, client: httpx.AsyncClient
    ) -> None:
        token = world.azure.entra_token(scene.app.client_id, scene.tenant, ARM)
        assert (await exchange(client, token)).status_code == 200
        world.azure.set_arm_tokens(scene.host, is_so=False)
        assert (await exchange(client, token)).status_code == 401

    @pytest.mark.parametrize("at_exchange", [True, False])
    async def test_without_a_role_permissions_cannot_be_retrieved(
        self,
        world: Clouds,
        scene: AzureScene,
        client: httpx.AsyncClient,
        at_exchange: bool,  # noqa: FBT001 - a column
    ) -> None:
        world.azure.set_refuses_at_exchange(is_so=at_exchange)
        world.azure.revoke(scene.host, scene.app.object_id)
        token = world.azure.entra_token(scene.app.client_id, scene.tenant)
        answer = await exchange(client, token)
        if not at_exchange:
            answer = await access(client, answer.json()["refresh_token"], PULL)
        assert error(answer) == (403, "DENIED", "retrieving permissions failed")


class TestTokens:
    @pytest.mark.parametrize("method", ["GET", "POST"])
    async def test_a_refresh_token_becomes_an_access_token_for_each_scope(
        self, world: Clouds, scene: AzureScene, client: httpx.AsyncClient, method: str
    ) -> None:
        token = world.azure.refresh_token(scene.host, scene.app.object_id)
        if method == "GET":
            answer = await access(client, token, PULL, TAGS)
        else:
            form = {"grant_type": "refresh_token", "service": scene.host, "refresh_token": token}
            answer = await client.post("/oauth2/token", data={**form, "scope": [PULL, TAGS]})
        assert answer.json().keys() == {"access_token"}
        claims = part(answer.json()["access_token"]).claims
        assert claims["access"] == [
            {"type": "repository", "name": NAME, "actions": ["pull"]},
            {"type": "repository", "name": NAME, "actions": ["metadata_read"]},
        ]
        assert claims["exp"] - claims["iat"] == pytest.approx(4500, abs=1)

    async def test_what_may_not_be_done_is_left_out_or_refused(
        self, world: Clouds, scene: AzureScene, client: httpx.AsyncClient
    ) -> None:
        token = world.azure.refresh_token(scene.host, scene.app.object_id)
        answer = await access(client, token, f"repository:{NAME}:pull,push,delete")
        assert part(answer.json()["access_token"]).claims["access"][0]["actions"] == ["pull"]
        world.azure.deny(scene.host, scene.app.object_id, NAME)
        answer = await access(client, token, PULL)
        assert part(answer.json()["access_token"]).claims["access"] == []
        world.azure.set_reduces_access(is_so=False)
        assert error(await access(client, token, PULL))[:2] == (401, "UNAUTHORIZED")

    @pytest.mark.parametrize("snapshots", [True, False])
    async def test_a_refresh_token_may_keep_what_its_owner_could_do(
        self,
        world: Clouds,
        scene: AzureScene,
        client: httpx.AsyncClient,
        snapshots: bool,  # noqa: FBT001 - a column
    ) -> None:
        world.azure.set_snapshots_permissions(is_so=snapshots)
        token = world.azure.refresh_token(scene.host, scene.app.object_id)
        world.azure.revoke(scene.host, scene.app.object_id)
        answer = await access(client, token, PULL)
        assert answer.status_code == (200 if snapshots else 403)

    async def test_repository_permissions_ignore_other_roles_and_case(
        self, world: Clouds, scene: AzureScene, client: httpx.AsyncClient
    ) -> None:
        world.azure.set_abac(scene.host, is_so=True)
        token = world.azure.refresh_token(scene.host, scene.app.object_id)
        assert (await access(client, token, PULL)).status_code == 403
        role = "Container Registry Repository Reader"
        world.azure.grant(scene.host, scene.app.object_id, role, repositories=("TEAM/*",))
        answer = await access(client, token, PULL, "repository:other/app:pull", "registry:catalog:*")
        (only,) = part(answer.json()["access_token"]).claims["access"]
        assert only["name"] == NAME

    async def test_dead_or_foreign_tokens_and_passwords_are_401(
        self, world: Clouds, scene: AzureScene, client: httpx.AsyncClient
    ) -> None:
        other = world.azure.add_registry("fabrikam", scene.tenant)
        foreign = world.azure.refresh_token(other, scene.app.object_id)
        mine = world.azure.refresh_token(scene.host, scene.app.object_id)
        wrong_kind = (await access(client, mine, PULL)).json()["access_token"]
        for token in ("", "opaque", foreign, wrong_kind):
            assert (await access(client, token, PULL)).status_code == 401
        world.azure.end_tokens()
        assert (await access(client, mine, PULL)).status_code == 401
        answer = await client.get("/oauth2/token", params={"scope": PULL}, auth=("nobody", "x"))
        assert answer.status_code == 401

    async def test_an_application_may_show_its_secret_itself(
        self, scene: AzureScene, client: httpx.AsyncClient
    ) -> None:
        auth = (scene.app.client_id, scene.secret)
        answer = await client.get("/oauth2/token", params={"scope": PULL}, auth=auth)
        assert part(answer.json()["access_token"]).claims["access"]

    async def test_nobody_gets_a_token_unless_anybody_may_pull(
        self, world: Clouds, scene: AzureScene, client: httpx.AsyncClient
    ) -> None:
        form = {"grant_type": "password", "service": scene.host, "scope": PULL}
        assert (await client.post("/oauth2/token", data=form)).status_code == 401
        world.azure.set_anonymous_pull(scene.host, is_so=True)
        assert (await client.post("/oauth2/token", data=form)).status_code == 200
        assert (await client.get("/oauth2/token", params={"scope": PULL})).status_code == 200


class TestDataPlane:
    async def test_whoever_shows_no_token_is_told_which_one_is_wanted(
        self, scene: AzureScene, client: httpx.AsyncClient
    ) -> None:
        answer = await client.get(f"/v2/{NAME}/manifests/1.0")
        assert error(answer)[:2] == (401, "UNAUTHORIZED")
        assert answer.json()["errors"][0]["detail"] == [
            {"Type": "repository", "Name": NAME, "Action": "pull"}
        ]
        assert answer.headers["www-authenticate"] == (
            f'Bearer realm="https://{scene.host}/oauth2/token",service="{scene.host}",scope="{PULL}"'
        )
        assert answer.headers["x-ms-correlation-request-id"]
        bare = (await client.get("/v2/")).headers["www-authenticate"]
        assert "scope" not in bare

    async def test_a_token_that_is_bad_and_one_that_is_too_small_are_told_apart(
        self, world: Clouds, scene: AzureScene, client: httpx.AsyncClient
    ) -> None:
        path = f"/v2/{NAME}/manifests/1.0"
        bad = await client.get(path, headers={"Authorization": "Bearer opaque"})
        assert bad.headers["www-authenticate"].endswith(',error="invalid_token"')
        small = await client.get(path, headers=await bearer(client, world, scene))
        assert small.headers["www-authenticate"].endswith(',error="insufficient_scope"')
        assert (await client.get("/v2/", headers=await bearer(client, world, scene))).status_code == 200

    @pytest.mark.parametrize("end", ["clock", "key", "hand"])
    async def test_a_token_ends(
        self, world: Clouds, scene: AzureScene, client: httpx.AsyncClient, end: str
    ) -> None:
        headers = await bearer(client, world, scene, PULL)
        assert (await client.get(f"/v2/{NAME}/manifests/1.0", headers=headers)).status_code == 200
        if end == "clock":
            world.azure.set_clock_offset(3601)
        elif end == "key":
            world.azure.rotate_registry_key()
        else:
            world.azure.end_tokens()
        answer = await client.get(f"/v2/{NAME}/manifests/1.0", headers=headers)
        assert 'error="invalid_token"' in answer.headers["www-authenticate"]

    async def test_manifests_come_by_tag_and_digest(
        self, world: Clouds, scene: AzureScene, client: httpx.AsyncClient
    ) -> None:
        headers = await bearer(client, world, scene, PULL)
        for reference in ("1.0", IMAGE.digest):
            answer = await client.get(f"/v2/{NAME}/manifests/{reference}", headers=headers)
            assert answer.content == IMAGE.manifest
            assert answer.headers["docker-content-digest"] == IMAGE.digest
        missing = await client.get(f"/v2/{NAME}/manifests/9.9", headers=headers)
        assert error(missing) == (404, "MANIFEST_UNKNOWN", 'manifest tagged by "9.9" is not found')
        world.azure.delete_repository(scene.host, NAME)
        gone = await client.get(f"/v2/{NAME}/manifests/1.0", headers=headers)
        assert error(gone) == (404, "NAME_UNKNOWN", "repository name not known to registry")
        assert gone.json()["errors"][0]["detail"] == {"name": NAME}

    async def test_a_blob_is_somewhere_else_behind_a_double_slash(
        self, world: Clouds, scene: AzureScene, client: httpx.AsyncClient
    ) -> None:
        headers = await bearer(client, world, scene, PULL)
        layer = IMAGE.layers[0]
        head = await client.head(f"/v2/{NAME}/blobs/{layer}", headers=headers)
        assert (head.status_code, head.headers["content-length"]) == (200, str(len(IMAGE.blobs[layer])))
        answer = await client.get(f"/v2/{NAME}/blobs/{layer}", headers=headers)
        location = answer.headers["location"]
        assert answer.status_code == 307
        assert answer.headers["docker-content-digest"] == layer
        assert urlsplit(location).netloc.endswith(".blob.core.windows.net")
        assert "//docker/registry/v2/blobs/sha256/" in urlsplit(location).path
        assert (await client.get(location)).content == IMAGE.blobs[layer]
        part_of_it = await client.get(location, headers={"Range": "bytes=10-19"})
        assert (part_of_it.status_code, part_of_it.content) == (206, IMAGE.blobs[layer][10:20])
        assert "docker-content-digest" not in part_of_it.headers

    async def test_storage_takes_no_credential_no_altered_address_and_none_that_ended(
        self, world: Clouds, scene: AzureScene, client: httpx.AsyncClient
    ) -> None:
        headers = await bearer(client, world, scene, PULL)
        answer = await client.get(f"/v2/{NAME}/blobs/{IMAGE.layers[0]}", headers=headers)
        location = answer.headers["location"]
        shown = await client.get(location, headers=headers)
        assert (shown.status_code, shown.headers["x-ms-error-code"]) == (400, "InvalidAuthenticationInfo")
        single = location.replace("//docker", "/docker")
        assert (await client.get(single)).status_code == 403
        world.azure.set_clock_offset(1201)
        assert (await client.get(location)).headers["x-ms-error-code"] == "AuthenticationFailed"

    async def test_tags_are_paged_by_relative_links(
        self, world: Clouds, scene: AzureScene, client: httpx.AsyncClient
    ) -> None:
        headers = await bearer(client, world, scene, TAGS)
        first = await client.get(f"/v2/{NAME}/tags/list?n=2", headers=headers)
        assert first.json() == {"name": NAME, "tags": ["1.0", "1.1"]}
        assert first.headers["link"] == f'</v2/{NAME}/tags/list?last=1.1&n=2&orderby=>; rel="next"'
        rest = await client.get(f"/v2/{NAME}/tags/list?last=1.1&n=2&orderby=", headers=headers)
        assert rest.json()["tags"] == ["1.2"]
        assert "link" not in rest.headers
        small = await client.get(f"/v2/{NAME}/tags/list", headers=await bearer(client, world, scene, PULL))
        assert f'scope="{TAGS}"' in small.headers["www-authenticate"]

    async def test_the_catalogue_needs_a_scope_of_its_own(
        self, world: Clouds, scene: AzureScene, client: httpx.AsyncClient
    ) -> None:
        headers = await bearer(client, world, scene, "registry:catalog:*")
        assert (await client.get("/v2/_catalog", headers=headers)).json() == {"repositories": [NAME]}
        answer = await client.get("/v2/_catalog", headers=await bearer(client, world, scene, PULL))
        assert 'scope="registry:catalog:*"' in answer.headers["www-authenticate"]

    async def test_referrers_are_found_by_their_subject(
        self, world: Clouds, scene: AzureScene, repository: AcrRepository, client: httpx.AsyncClient
    ) -> None:
        signature: Image = make_image("signature", subject=IMAGE)
        repository.push(signature)
        headers = await bearer(client, world, scene, PULL)
        answer = await client.get(f"/v2/{NAME}/referrers/{IMAGE.digest}", headers=headers)
        assert [each["digest"] for each in answer.json()["manifests"]] == [signature.digest]
        filtered = await client.get(
            f"/v2/{NAME}/referrers/{IMAGE.digest}?artifactType=nothing", headers=headers
        )
        assert filtered.json()["manifests"] == []
        assert filtered.headers["oci-filters-applied"] == "artifactType"

    async def test_a_firewall_stands_before_everything(
        self, world: Clouds, scene: AzureScene, client: httpx.AsyncClient
    ) -> None:
        headers = await bearer(client, world, scene, PULL)
        world.azure.set_firewall(scene.host, "203.0.113.7")
        token = world.azure.entra_token(scene.app.client_id, scene.tenant)
        for answer in (await client.get("/v2/", headers=headers), await exchange(client, token)):
            status, code, message = error(answer)
            assert (status, code) == (403, "DENIED")
            assert message.startswith("client with IP '203.0.113.7' is not allowed access.")

    async def test_throttling_speaks_the_protocol(self, world: Clouds, client: httpx.AsyncClient) -> None:
        world.faults.add(Fault(Harm.THROTTLE, service="acr", retry_after=3))
        answer = await client.get("/v2/")
        assert error(answer)[:2] == (429, "TOOMANYREQUESTS")
        assert answer.headers["retry-after"] == "3"

    @pytest.mark.parametrize("harm", [Harm.CORRUPT, Harm.TRUNCATE])
    async def test_a_fault_is_aimed_at_one_blob(
        self, world: Clouds, scene: AzureScene, client: httpx.AsyncClient, harm: Harm
    ) -> None:
        layer = IMAGE.layers[0]
        world.faults.add(
            Fault(harm, service="azure-storage", path=world.azure.blob_path(scene.host, layer), after_bytes=9)
        )
        answer = await client.get(
            f"/v2/{NAME}/blobs/{layer}", headers=await bearer(client, world, scene, PULL)
        )
        if harm is Harm.CORRUPT:
            spoiled = (await client.get(answer.headers["location"])).content
            assert spoiled[9] != IMAGE.blobs[layer][9]
        else:
            with pytest.raises(httpx.RemoteProtocolError):
                await client.get(answer.headers["location"])


async def test_a_regional_endpoint_and_a_label_are_the_same_registry(
    world: Clouds, scene: AzureScene
) -> None:
    host = world.azure.add_registry("labelled", scene.tenant, label_hash="e7ggejfuhzhgedc8")
    assert host == "labelled-e7ggejfuhzhgedc8.azurecr.io"
    world.azure.grant(host, scene.app.object_id)
    acr(world, host, NAME).push(IMAGE, "1.0")
    regional = "labelled-e7ggejfuhzhgedc8.eastus.geo.azurecr.io"
    async with world.http_client() as client:
        client.base_url = httpx.URL(f"https://{regional}")
        token = world.azure.refresh_token(host, scene.app.object_id)
        given = (await access(client, token, PULL)).json()["access_token"]
        assert part(given).claims["aud"] == host
        headers = {"Authorization": f"Bearer {given}"}
        assert (await client.get(f"/v2/{NAME}/manifests/1.0", headers=headers)).status_code == 200


async def test_a_registry_that_was_never_made_has_no_name(world: Clouds) -> None:
    async with world.http_client() as client:
        with pytest.raises(httpx.ProxyError):
            await client.get("https://nobody.azurecr.io/v2/")


def test_what_looks_like_base64_is_base64url() -> None:
    claims = base64.urlsafe_b64encode(json.dumps({"sub": "ÿþ~?>"}).encode()).rstrip(b"=").decode()
    assert part(f"e30.{claims}.AA").claims == {"sub": "ÿþ~?>"}
