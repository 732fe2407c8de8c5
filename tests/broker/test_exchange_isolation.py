"""Nothing of the machine's own AWS set-up may reach an exchange: no keys, roles, endpoints or models."""

import json
import os
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.broker.aws_climbs import IDENTITY, Signs, by_key, by_role, exchange_through, order, refused
from tests.clouds import issuer
from tests.clouds.aws.model import Federation
from tests.clouds.aws.policy import may_pull, may_pull_public
from tests.clouds.clouds import Clouds, clouds
from tests.clouds.issuer import TestIssuer
from tests.clouds.scene import ACCOUNT, Scene, set_scene
from vreg_shared.auth_method import AuthMethod
from vreg_shared.egress import EgressPolicy
from vreg_shared.egress.proxy import EgressProxy
from vreg_shared.provider import InvalidHostError
from vreg_shared.providers.aws.auth_methods import Container, Instance, WebIdentity
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
        "AWS_ENDPOINT_URL_ECR_PUBLIC": url,
        "AWS_USE_FIPS_ENDPOINT": "true",
        "AWS_USE_DUALSTACK_ENDPOINT": "true",
        "AWS_STS_REGIONAL_ENDPOINTS": "legacy",
        "AWS_CA_BUNDLE": "/planted/ca.pem",
        "REQUESTS_CA_BUNDLE": "/planted/ca.pem",
        "AWS_MAX_ATTEMPTS": "9",
        "AWS_RETRY_MODE": "legacy",
        "AWS_EC2_METADATA_SERVICE_ENDPOINT": url,
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{url}/creds",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN": "planted",
        "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/planted",
        "AWS_ROLE_SESSION_NAME": "planted",
        "AWS_WEB_IDENTITY_TOKEN_FILE": "/planted/token",
        "AWS_EC2_METADATA_V1_DISABLED": "false",
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


def no_connection(canary: socket.socket) -> bool:
    """Whether nobody came; the listener is closed then."""
    with canary, pytest.raises(BlockingIOError):
        canary.accept()
    return True


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
    assert no_connection(canary)


async def test_a_method_that_was_not_chosen_uses_nothing_of_the_platform(
    world: Clouds, home: Path, canary: socket.socket
) -> None:
    """Neither where the broker may know of the platform, nor where the planted key is the wrong one."""
    own = TestIssuer()
    world.sites.serve(issuer.HOST, own.documents())
    world.aws.add_oidc_provider(ACCOUNT, own.url, audiences=("sts.amazonaws.com",))
    trusted = Federation(own.url, "sts.amazonaws.com", f"vreg:identity:{IDENTITY}")
    scene = set_scene(world)
    web = world.aws.add_role(ACCOUNT, "web", federations=(trusted,), allow=may_pull())
    machine = world.aws.add_role(
        ACCOUNT, "machine", trusts=("pods.eks.amazonaws.com", "ec2.amazonaws.com"), allow=may_pull()
    )
    world.aws.set_instance_role(machine)
    platform = {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{world.local['aws-container']}/v1/credentials",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN": world.aws.associate_pod(machine),
        "AWS_EC2_METADATA_SERVICE_ENDPOINT": world.local["aws-instance"],
    }
    exchange = exchange_through(world, home, environment=platform, identity_tokens=Signs(own))
    public = world.aws.add_user(ACCOUNT, "public", allow=may_pull_public())
    wrong = by_key(replace(scene.key, secret_access_key="not the secret"))

    for method, host in (
        (by_key(public), "public.ecr.aws"),
        (by_role(scene), scene.host),
        (WebIdentity(role_arn=web), scene.host),
    ):
        assert isinstance(await exchange.lease_for(order(method, host)), Issued)
    assert refused(await exchange.lease_for(order(wrong, scene.host))).reason == "bad_credentials"

    assert world.log.count(service="aws-container") == world.log.count(service="aws-instance") == 0
    assert all("planted" not in entry.subject + entry.principal for entry in world.log.entries())
    assert no_connection(canary)


@pytest.mark.parametrize("method", [Container(), Instance()], ids=lambda method: method.tag)
async def test_an_ambient_method_knows_only_what_the_broker_was_permitted_to_see(
    world: Clouds, home: Path, canary: socket.socket, method: AuthMethod
) -> None:
    environment = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": world.local["aws-instance"]}
    exchange = exchange_through(world, home, environment=environment)

    outcome = refused(await exchange.lease_for(order(method, set_scene(world).host)))

    assert outcome.reason == "no_ambient_identity"
    assert no_connection(canary)


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
