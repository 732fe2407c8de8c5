"""Nothing of the machine's own Azure set-up may reach an exchange: no variables, files or endpoints."""

import json
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.broker.test_azure_exchange import (
    AUDIENCE,
    SUBJECT,
    Tokens,
    by_certificate,
    by_federation,
    by_secret,
    exchange_through,
    issued,
    order,
)
from tests.clouds import issuer
from tests.clouds.azure.machine import APP_SERVICE, IMDS
from tests.clouds.azure_scene import make_certificate, set_azure_scene
from tests.clouds.clouds import Clouds, clouds
from vreg_shared.providers.azure.auth_methods import ManagedIdentity

PLANTED = "99999999-9999-9999-9999-999999999999"


@pytest.fixture
def canary() -> Iterator[socket.socket]:
    """A listener that nobody may reach."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)  # noqa: FBT003 - the socket's own signature
        yield listener


@pytest.fixture
def planted(tmp_path: Path, canary: socket.socket, monkeypatch: pytest.MonkeyPatch) -> Mapping[str, str]:
    """Plant everything that azure-identity, azure-core and msal are known to read."""
    url = f"http://127.0.0.1:{canary.getsockname()[1]}"
    token_file = tmp_path / "azure-identity-token"
    token_file.write_text("planted-identity-token")
    variables = {
        "AZURE_CLIENT_ID": PLANTED,
        "AZURE_TENANT_ID": PLANTED,
        "AZURE_CLIENT_SECRET": "planted",
        "AZURE_CLIENT_CERTIFICATE_PATH": str(tmp_path / "planted.pem"),
        "AZURE_FEDERATED_TOKEN_FILE": str(token_file),
        "AZURE_AUTHORITY_HOST": url.replace("http", "https"),
        "AZURE_REGIONAL_AUTHORITY_NAME": "planted",
        "AZURE_POD_IDENTITY_AUTHORITY_HOST": url,
        "AZURE_KUBERNETES_TOKEN_PROXY": url,
        "AZURE_TOKEN_CREDENTIALS": "prod",
        "AZURE_USERNAME": "planted",
        "AZURE_PASSWORD": "planted",
        "AZURE_HTTP_USER_AGENT": "planted-agent",
        "AZURE_SDK_TRACING_IMPLEMENTATION": "planted",
        "AZURE_CONFIG_DIR": str(tmp_path / "home" / ".azure"),
        "IDENTITY_ENDPOINT": url,
        "IDENTITY_HEADER": "planted",
        "IDENTITY_SERVER_THUMBPRINT": "planted",
        "IMDS_ENDPOINT": url,
        "MSI_ENDPOINT": url,
        "MSI_SECRET": "planted",
        "REGION_NAME": "planted",
        "REQUESTS_CA_BUNDLE": "/planted/ca.pem",
        "CURL_CA_BUNDLE": "/planted/ca.pem",
        "HTTPS_PROXY": url,
        "HTTP_PROXY": url,
        "https_proxy": url,
        "http_proxy": url,
        "ALL_PROXY": url,
        "NO_PROXY": "",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return variables


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Plant `~/.azure`, a token cache, and an `az` that would leave a trace."""
    folder = tmp_path / "home" / ".azure"
    folder.mkdir(parents=True)
    profile = {"subscriptions": [{"id": PLANTED, "tenantId": PLANTED, "isDefault": True}]}
    (folder / "azureProfile.json").write_text(json.dumps(profile))
    (folder / "msal_token_cache.json").write_text(json.dumps({"AccessToken": {}}))
    program = tmp_path / "bin" / "az"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    program.chmod(0o755)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", str(program.parent))
    return tmp_path


async def test_a_planted_set_up_changes_nothing(
    home: Path, canary: socket.socket, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    async with clouds(tmp_path / "clouds") as world:
        tokens = Tokens()
        world.sites.serve(issuer.HOST, tokens.own.documents())
        scene, made = set_azure_scene(world), make_certificate()
        world.azure.set_certificates(scene.app.client_id, (made.certificate,))
        world.azure.federate(scene.app.client_id, issuer.URL, SUBJECT, AUDIENCE)
        request.getfixturevalue("planted")
        exchange = exchange_through(world, tokens)
        for method in (by_secret(scene), by_certificate(scene, made), by_federation(scene)):
            assert issued(await exchange.lease_for(order(method, scene.host)))
        asked = [(entry.host, entry.operation) for entry in world.log.entries() if entry.operation]
        assert asked == [("login.microsoftonline.com", "Token"), (scene.host, "Exchange")] * 3
        assert PLANTED not in repr(world.log.entries())
    assert not (home / "ran").exists()
    with pytest.raises(BlockingIOError):
        canary.accept()


@pytest.mark.parametrize(("source", "service"), [("imds", IMDS), ("container_apps", APP_SERVICE)])
async def test_a_managed_identity_on_aks_is_the_one_it_says_it_is(
    canary: socket.socket, tmp_path: Path, request: pytest.FixtureRequest, source: str, service: str
) -> None:
    async with clouds(tmp_path / "clouds") as world:
        scene = set_azure_scene(world)
        own = world.azure.add_managed_identity(scene.tenant, "kubelet")
        world.azure.set_machine(service, (own.client_id,))
        world.azure.grant(scene.host, own.object_id)
        planted = request.getfixturevalue("planted")
        method = ManagedIdentity.model_validate({"source": source, "client_id": own.client_id})
        exchange = exchange_through(world, None, {**planted, **machine_of(world)})
        outcome = issued(await exchange.lease_for(order(method, scene.host)))
        assert outcome.principal.startswith(f"application {own.client_id}")
        assert world.log.count(service="entra") == 0, "no workload identity took its place"
        assert world.log.count(service=service) == 1
    with pytest.raises(BlockingIOError):
        canary.accept()


def machine_of(world: Clouds) -> dict[str, str]:
    return {
        "AZURE_POD_IDENTITY_AUTHORITY_HOST": world.local[IMDS],
        "IDENTITY_ENDPOINT": f"{world.local[APP_SERVICE]}/msi/token",
        "IDENTITY_HEADER": world.azure.app_service_header(),
    }
