"""Nothing of the machine's own AWS set-up may reach an exchange: no keys, endpoints or models."""

import json
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.broker.aws_climbs import by_key, by_role, exchange_through, order
from tests.clouds.clouds import Clouds, clouds
from tests.clouds.scene import Scene, set_scene
from vreg_shared.egress import EgressPolicy
from vreg_shared.egress.proxy import EgressProxy
from vreg_shared.provider import InvalidHostError
from vreg_shared.providers.aws.hosts import EcrHost
from vreg_shared.secret import Secret
from vreg_token_broker.exchange import Issued
from vreg_token_broker.exchanges.aws.client import AwsClient, Route

HOST = EcrHost.parse("123456789012.dkr.ecr.eu-west-1.amazonaws.com")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[Clouds]:
    async with clouds(tmp_path / "clouds") as running:
        yield running


@pytest.fixture
def canary(monkeypatch: pytest.MonkeyPatch) -> socket.socket:
    """Plant everything botocore is known to read, all of it leading to a listener nobody may reach."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)  # noqa: FBT003 - the socket's own signature
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    planted = {
        "AWS_ACCESS_KEY_ID": "AKIAPLANTEDPLANTED00",
        "AWS_SECRET_ACCESS_KEY": "planted",
        "AWS_SESSION_TOKEN": "planted",
        "AWS_PROFILE": "planted",
        "AWS_DEFAULT_PROFILE": "planted",
        "AWS_REGION": "us-west-2",
        "AWS_DEFAULT_REGION": "us-west-2",
        "AWS_ENDPOINT_URL": url,
        "AWS_ENDPOINT_URL_STS": url,
        "AWS_ENDPOINT_URL_ECR": url,
        "AWS_USE_FIPS_ENDPOINT": "true",
        "AWS_USE_DUALSTACK_ENDPOINT": "true",
        "AWS_STS_REGIONAL_ENDPOINTS": "legacy",
        "AWS_CA_BUNDLE": "/planted/ca.pem",
        "REQUESTS_CA_BUNDLE": "/planted/ca.pem",
        "AWS_MAX_ATTEMPTS": "9",
        "AWS_RETRY_MODE": "legacy",
        "AWS_EC2_METADATA_SERVICE_ENDPOINT": url,
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{url}/creds",
        "AWS_BEARER_TOKEN_ECR": "planted",
        "AWS_BEARER_TOKEN_STS": "planted",
        "AWS_CSM_ENABLED": "true",
        "HTTPS_PROXY": url,
        "https_proxy": url,
        "ALL_PROXY": url,
        "NO_PROXY": "",
    }
    for name, value in planted.items():
        monkeypatch.setenv(name, value)
    return listener


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, canary: socket.socket) -> Path:
    """Plant `~/.aws`: a default profile, a process that would be run, and a table of no endpoints."""
    url = f"http://127.0.0.1:{canary.getsockname()[1]}"
    folder = tmp_path / "home" / ".aws"
    (folder / "models").mkdir(parents=True)
    config = f"region = us-west-2\nendpoint_url = {url}\ncredential_process = touch {tmp_path}/ran\n"
    (folder / "config").write_text(f"[default]\n{config}[profile planted]\n{config}")
    (folder / "credentials").write_text(
        "[default]\naws_access_key_id = AKIAPLANTEDPLANTED00\naws_secret_access_key = planted\n"
    )
    (folder / "models" / "endpoints.json").write_text(json.dumps({"version": 3, "partitions": []}))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(folder / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(folder / "credentials"))
    monkeypatch.setenv("AWS_DATA_PATH", str(folder / "models"))
    return tmp_path


async def test_a_planted_set_up_changes_nothing(world: Clouds, home: Path, canary: socket.socket) -> None:
    scene: Scene = set_scene(world)
    exchange = exchange_through(world, home)
    for method in (by_role(scene), by_key(scene.key)):
        await exchange.lease_for(order(method, scene.host))
    outcome = await exchange.lease_for(order(by_role(scene), scene.host))
    assert isinstance(outcome, Issued)
    assert {entry.host for entry in world.log.entries()} == {
        "sts.eu-west-1.amazonaws.com",
        "api.ecr.eu-west-1.amazonaws.com",
    }
    assert all("planted" not in entry.principal for entry in world.log.entries())
    assert not (home / "ran").exists()
    with pytest.raises(BlockingIOError):
        canary.accept()
    canary.close()


def test_an_environments_proxy_is_no_proxy_of_ours(home: Path, canary: socket.socket) -> None:
    assert home.exists()
    calls = AwsClient(Route(EgressPolicy()))
    assert calls.endpoint("sts", HOST) == "https://sts.eu-west-1.amazonaws.com"
    assert Route(EgressPolicy()).proxies("https://sts.eu-west-1.amazonaws.com") == {}
    canary.close()


def test_the_operators_proxy_keeps_its_login_and_its_exemptions() -> None:
    proxy = EgressProxy.parse(Secret("http://us%40er:p%3Ass@proxy.example:3128"), ".amazonaws.com.cn")
    route = Route(EgressPolicy(proxy=proxy))
    assert route.proxies("https://sts.eu-west-1.amazonaws.com") == {
        "https": "http://us%40er:p%3Ass@proxy.example:3128"
    }
    assert route.proxies("https://sts.cn-north-1.amazonaws.com.cn") == {}


@pytest.mark.parametrize("service", ["sts", "ecr"])
def test_an_endpoint_is_computed_from_the_registrys_host_alone(service: str) -> None:
    endpoint = AwsClient(Route(EgressPolicy())).endpoint(service, HOST)
    assert endpoint.endswith(".eu-west-1.amazonaws.com")
    with pytest.raises(InvalidHostError):
        EcrHost.parse("123456789012.dkr.ecr.eu-west-1.amazonaws.com.evil.example")
    assert os.environ.get("AWS_ENDPOINT_URL") is None
