"""The emulated Entra and machines: the real azure-identity in both its families, and the wire by hand."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import azure.identity
import azure.identity.aio
import httpx
import pytest
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import CredentialUnavailableError

from tests.clouds import issuer
from tests.clouds.azure.jwt import part
from tests.clouds.azure.machine import APP_SERVICE, IMDS
from tests.clouds.azure_scene import AzureScene, make_certificate, set_azure_scene
from tests.clouds.clouds import Clouds, clouds
from tests.clouds.faults import Fault, Harm

SCOPE = "https://containerregistry.azure.net/.default"
RESOURCE = "https://containerregistry.azure.net"
SUBJECT, AUDIENCE = "vreg:42:7f3c", "api://AzureADTokenExchange"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[Clouds]:
    async with clouds(tmp_path) as running:
        yield running


@pytest.fixture
def scene(world: Clouds) -> AzureScene:
    return set_azure_scene(world)


class Sdk:
    """Both families of azure-identity behind the gateway, without repeats."""

    def __init__(self, world: Clouds) -> None:
        self._options: dict[str, Any] = {"connection_verify": str(world.ca_bundle), "retry_total": 0}
        self._proxy = world.gateway_url

    async def sync(self, kind: Callable[..., Any], *arguments: object, **options: object) -> str:
        """Return the token of a blocking credential, got on a thread."""
        proxies = {"https": self._proxy}
        credential = kind(*arguments, **self._options, proxies=proxies, **options)
        with credential:
            return str((await asyncio.to_thread(credential.get_token, SCOPE)).token)

    async def aio(self, kind: Callable[..., Any], *arguments: object, **options: object) -> str:
        """Return the token of an asynchronous credential."""
        async with AsyncExitStack() as stack:
            credential = kind(*arguments, **self._options, proxies={"https": self._proxy}, **options)
            await stack.enter_async_context(credential)
            return str((await credential.get_token(SCOPE)).token)


@pytest.fixture
def sdk(world: Clouds) -> Sdk:
    return Sdk(world)


@pytest.mark.parametrize("family", ["sync", "aio"])
async def test_the_sdk_gets_a_token_for_a_secret(
    world: Clouds, scene: AzureScene, sdk: Sdk, family: str
) -> None:
    kinds = {"sync": azure.identity, "aio": azure.identity.aio}
    ask = getattr(sdk, family)
    token = await ask(kinds[family].ClientSecretCredential, scene.tenant, scene.app.client_id, scene.secret)
    claims = part(token).claims
    assert claims["aud"] == RESOURCE
    assert (claims["appid"], claims["oid"], claims["tid"]) == (
        scene.app.client_id,
        scene.app.object_id,
        scene.tenant,
    )
    assert world.log.count(operation="Discovery") == (1 if family == "sync" else 0)
    assert world.log.count(operation="Token") == 1


@pytest.mark.parametrize("family", ["sync", "aio"])
async def test_the_sdk_signs_with_a_certificate_in_either_way(
    world: Clouds, scene: AzureScene, sdk: Sdk, family: str
) -> None:
    made = make_certificate()
    world.azure.set_certificates(scene.app.client_id, (made.certificate,))
    kinds = {"sync": azure.identity, "aio": azure.identity.aio}
    pem = (made.private_key + made.certificate).encode()
    ask = getattr(sdk, family)
    who = scene.tenant, scene.app.client_id
    assert await ask(kinds[family].CertificateCredential, *who, certificate_data=pem)
    stranger = make_certificate()
    pem = (stranger.private_key + stranger.certificate).encode()
    with pytest.raises(ClientAuthenticationError, match="AADSTS700027"):
        await ask(kinds[family].CertificateCredential, *who, certificate_data=pem)


@pytest.mark.parametrize("family", ["sync", "aio"])
async def test_the_sdk_brings_another_issuers_token(
    world: Clouds, scene: AzureScene, sdk: Sdk, family: str
) -> None:
    own = issuer.TestIssuer()
    world.sites.serve(issuer.HOST, own.documents())
    world.azure.federate(scene.app.client_id, issuer.URL, SUBJECT, AUDIENCE)
    kinds = {"sync": azure.identity, "aio": azure.identity.aio}
    kind = kinds[family].ClientAssertionCredential
    who = scene.tenant, scene.app.client_id

    def token(**claims: object) -> Callable[[], str]:
        return lambda: own.token(**{"sub": SUBJECT, "aud": AUDIENCE, **fresh(), **claims})

    ask = getattr(sdk, family)
    assert await ask(kind, *who, token())
    for claims, code in (
        ({"sub": "x"}, 700213),
        ({"aud": "x"}, 700212),
        ({"iss": "https://x.example"}, 700211),
    ):
        with pytest.raises(ClientAuthenticationError, match=f"AADSTS{code}"):
            await ask(kind, *who, token(**claims))
    world.azure.unfederate(scene.app.client_id)
    with pytest.raises(ClientAuthenticationError, match="AADSTS70021:"):
        await ask(kind, *who, token())


async def test_a_forged_token_of_a_trusted_issuer_is_refused(
    world: Clouds, scene: AzureScene, sdk: Sdk
) -> None:
    world.sites.serve(issuer.HOST, issuer.TestIssuer().documents())
    world.azure.federate(scene.app.client_id, issuer.URL, SUBJECT, AUDIENCE)
    forged = issuer.TestIssuer().token(sub=SUBJECT, aud=AUDIENCE, **fresh())
    with pytest.raises(ClientAuthenticationError, match="AADSTS700027"):
        await sdk.aio(
            azure.identity.aio.ClientAssertionCredential, scene.tenant, scene.app.client_id, lambda: forged
        )


async def test_an_issuer_nobody_trusts_is_not_asked(world: Clouds, scene: AzureScene, sdk: Sdk) -> None:
    own = issuer.TestIssuer()
    world.sites.serve(issuer.HOST, own.documents())
    with pytest.raises(ClientAuthenticationError, match="AADSTS70021:"):
        await sdk.aio(
            azure.identity.aio.ClientAssertionCredential,
            scene.tenant,
            scene.app.client_id,
            lambda: own.token(sub=SUBJECT, aud=AUDIENCE, **fresh()),
        )
    assert world.log.count(host=issuer.HOST) == 0


async def test_a_refusal_has_the_whole_body_of_a_real_one(world: Clouds, scene: AzureScene) -> None:
    answer = await post(world, scene.tenant, form(scene, client_secret="wrong"))
    document = answer.json()
    assert answer.status_code == 401
    assert document["error"] == "invalid_client"
    assert document["error_codes"] == [7000215]
    assert document["error_uri"].endswith("code=7000215")
    assert re.search(
        r"^AADSTS7000215: .+\r\nTrace ID: \S+\r\nCorrelation ID: \S+\r\nTimestamp: ",
        document["error_description"],
    )
    assert document["trace_id"] in document["error_description"]


@pytest.mark.parametrize(
    ("changes", "number"),
    [
        ({"client_secret": ""}, 7000215),
        ({"client_secret": None}, 7000218),
        ({"client_id": "nobody"}, 700016),
        ({"scope": "https://vault.azure.net/.default"}, 500011),
        ({"scope": RESOURCE}, 500011),
        ({"grant_type": "password"}, 70003),
        ({"client_secret": None, "client_assertion": "x", "client_assertion_type": "y"}, 7000218),
    ],
)
async def test_everything_in_the_form_counts(
    world: Clouds, scene: AzureScene, changes: dict[str, str | None], number: int
) -> None:
    answer = await post(world, scene.tenant, form(scene, **changes))
    assert answer.json()["error_codes"] == [number]


async def test_a_tenant_lives_in_its_own_cloud(world: Clouds, scene: AzureScene) -> None:
    async with world.http_client() as client:
        url = f"https://login.microsoftonline.us/{scene.tenant}/v2.0/.well-known/openid-configuration"
        answer = await client.get(url)
    assert answer.json()["error_codes"] == [90002]


async def test_an_application_of_another_tenant_needs_its_principal_there(
    world: Clouds, scene: AzureScene
) -> None:
    app = world.azure.add_app(scene.tenant, "multi", is_multi_tenant=True)
    secret = world.azure.add_secret(app.client_id)
    elsewhere = world.azure.add_tenant("elsewhere.example")
    asked = form(scene, client_id=app.client_id, client_secret=secret)
    assert (await post(world, elsewhere, asked)).json()["error_codes"] == [700016]
    object_id = world.azure.add_service_principal(app.client_id, elsewhere)
    claims = part((await post(world, elsewhere, asked)).json()["access_token"]).claims
    assert (claims["oid"], claims["tid"]) == (object_id, elsewhere)
    with pytest.raises(Exception, match="not multi-tenant"):
        world.azure.add_service_principal(scene.app.client_id, elsewhere)


async def test_throttling_and_being_unwell_have_their_own_dialect(world: Clouds, scene: AzureScene) -> None:
    world.faults.add(Fault(Harm.THROTTLE, service="entra", retry_after=9))
    throttled = await post(world, scene.tenant, form(scene))
    world.faults.add(Fault(Harm.FAIL, service="entra", status=503))
    unwell = await post(world, scene.tenant, form(scene))
    assert unwell.status_code == 503
    assert (throttled.json()["error_codes"], throttled.headers["retry-after"]) == ([90055], "9")
    assert unwell.headers["content-type"] == "text/html"


class TestMachines:
    @pytest.fixture
    def own(self, world: Clouds, scene: AzureScene) -> str:
        made = world.azure.add_managed_identity(scene.tenant, "vm", is_system=True)
        for service in (IMDS, APP_SERVICE):
            world.azure.set_machine(service, (made.client_id,))
        return made.client_id

    async def test_imds_gives_every_number_as_text(self, world: Clouds, own: str) -> None:
        answer = await imds(world)
        assert {type(value) for value in answer.json().values()} == {str}
        assert answer.json()["client_id"] == own
        assert part(answer.json()["access_token"]).claims["aud"] == RESOURCE

    @pytest.mark.parametrize(
        ("changes", "error"),
        [
            ({"headers": {}}, "invalid_request"),
            ({"resource": "https://vault.azure.net"}, "invalid_resource"),
            ({"api-version": "2017-01-01"}, "invalid_request"),
            ({"client_id": "nobody"}, "invalid_request"),
            ({"resource_id": "anything"}, None),
        ],
    )
    async def test_imds_is_strict_with_what_it_knows_and_blind_for_the_rest(
        self, world: Clouds, own: str, changes: dict[str, Any], error: str | None
    ) -> None:
        assert own
        answer = await imds(world, **changes)
        assert answer.json().get("error") == error

    async def test_of_several_assigned_identities_one_must_be_named(
        self, world: Clouds, scene: AzureScene
    ) -> None:
        made = [world.azure.add_managed_identity(scene.tenant, name) for name in ("one", "two")]
        world.azure.set_machine(IMDS, (made[0].client_id,))
        assert (await imds(world)).json()["client_id"] == made[0].client_id, "the only one answers for all"
        world.azure.set_machine(IMDS, tuple(each.client_id for each in made))
        assert "Multiple user assigned identities" in (await imds(world)).json()["error_description"]
        named = await imds(world, msi_res_id=made[1].resource_id)
        assert named.json()["client_id"] == made[1].client_id

    async def test_the_sdk_asks_imds(self, world: Clouds, own: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", world.local[IMDS])
        for kind in (azure.identity, azure.identity.aio):
            credential = kind.ManagedIdentityCredential(retry_total=0)
            assert own in str(part(await token_of(credential)).claims)
        unknown = azure.identity.aio.ManagedIdentityCredential(client_id="nobody", retry_total=0)
        with pytest.raises(CredentialUnavailableError):
            await token_of(unknown)

    async def test_the_sdk_asks_app_service(
        self, world: Clouds, own: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"{world.local[APP_SERVICE]}/msi/token")
        monkeypatch.setenv("IDENTITY_HEADER", world.azure.app_service_header())
        for kind in (azure.identity, azure.identity.aio):
            assert own in str(part(await token_of(kind.ManagedIdentityCredential(retry_total=0))).claims)

    async def test_app_service_wants_the_header_that_it_gave_its_app(self, world: Clouds, own: str) -> None:
        assert own
        query = {"api-version": "2019-08-01", "resource": RESOURCE}
        async with httpx.AsyncClient(base_url=world.local[APP_SERVICE], trust_env=False) as client:
            assert (await client.get("/msi/token", params=query)).status_code == 401
            headers = {"X-IDENTITY-HEADER": world.azure.app_service_header()}
            assert (await client.get("/msi/token", params=query, headers=headers)).status_code == 200
            unknown = await client.get("/msi/token", params=query | {"client_id": "x"}, headers=headers)
        assert (unknown.status_code, unknown.json()["statusCode"]) == (400, 400)


async def token_of(credential: Any) -> str:  # noqa: ANN401 -- of either family
    """Return a token by whichever family a credential is of."""
    if isinstance(credential, azure.identity.aio.ManagedIdentityCredential):
        async with credential:
            return str((await credential.get_token(SCOPE)).token)
    with credential:
        return str((await asyncio.to_thread(credential.get_token, SCOPE)).token)


def fresh() -> dict[str, int]:
    """Return times of a token that is good now."""
    now = int(time.time())
    return {"iat": now, "exp": now + 300}


def form(scene: AzureScene, **changes: str | None) -> dict[str, str]:
    """Return what a client sends for a secret."""
    known: dict[str, str | None] = {
        "client_id": scene.app.client_id,
        "client_secret": scene.secret,
        "grant_type": "client_credentials",
        "scope": SCOPE,
    }
    return {name: value for name, value in (known | changes).items() if value is not None}


async def post(world: Clouds, tenant: str, form: dict[str, str]) -> httpx.Response:
    """Ask the token endpoint."""
    async with world.http_client() as client:
        return await client.post(f"https://login.microsoftonline.com/{tenant}/oauth2/v2.0/token", data=form)


async def imds(world: Clouds, **changes: Any) -> httpx.Response:  # noqa: ANN401 -- parameters and headers
    """Ask the metadata service."""
    headers = changes.pop("headers", {"Metadata": "true"})
    query = {"api-version": "2018-02-01", "resource": RESOURCE} | changes
    async with httpx.AsyncClient(base_url=world.local[IMDS], trust_env=False) as client:
        return await client.get("/metadata/identity/oauth2/token", params=query, headers=headers)
