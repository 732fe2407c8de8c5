"""Nothing of the machine's own Google or AWS set-up may reach an exchange that has credentials of its own."""

import json
import socket
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.broker.test_gcp_exchange import (
    AWS_ACCOUNT,
    POOL,
    Issuer,
    by_federation,
    by_impersonation,
    by_key,
    exchange_through,
    order,
    trust,
)
from tests.clouds.clouds import Clouds, clouds
from tests.clouds.gcp.scene import BROKER, PULLER, set_scene
from tests.clouds.issuer import HOST, TestIssuer
from vreg_shared.auth_method import AuthMethod
from vreg_shared.providers.gcp.auth_methods import AwsAccessKeyFederation, Metadata
from vreg_shared.secret import Secret
from vreg_token_broker.exchange import Issued

_GOOGLE_HOSTS = {"oauth2.googleapis.com", "sts.googleapis.com", "iamcredentials.googleapis.com"}
_opened: list[list[str]] = []


def _on_event(event: str, arguments: tuple[object, ...]) -> None:
    if event == "open" and _opened:
        for paths in _opened:
            paths.append(str(arguments[0]))


sys.addaudithook(_on_event)


@contextmanager
def files_opened() -> Iterator[list[str]]:
    """Yield a list that receives the path of every file this process opens."""
    paths: list[str] = []
    _opened.append(paths)
    try:
        yield paths
    finally:
        _opened.remove(paths)


class Untouchable(Mapping[str, str]):
    """An environment that nobody may look into."""

    def __getitem__(self, name: str) -> str:
        raise AssertionError(f"the environment was asked for {name}")

    def __iter__(self) -> Iterator[str]:
        raise AssertionError("the environment was read")

    def __len__(self) -> int:
        return 1


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[Clouds]:
    async with clouds(tmp_path / "clouds") as running:
        yield running


@pytest.fixture
def canary() -> Iterator[socket.socket]:
    """Somewhere nobody may connect to."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)  # noqa: FBT003 - the socket's own signature
        yield listener


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, canary: socket.socket, world: Clouds) -> Path:
    """Plant all that Google's and AWS's libraries are known to read, all of it leading to the canary."""
    origin = f"127.0.0.1:{canary.getsockname()[1]}"
    folder = tmp_path / "home"
    adc = folder / ".config" / "gcloud" / "application_default_credentials.json"
    adc.parent.mkdir(parents=True)
    world.gcp.add_service_account("planted@a-project.iam.gserviceaccount.com")
    planted = world.gcp.add_key("planted@a-project.iam.gserviceaccount.com").document()
    adc.write_text(json.dumps(planted | {"token_uri": f"http://{origin}/token"}))
    (adc.parent / "active_config").write_text("default")
    (folder / ".aws").mkdir()
    (folder / ".aws" / "credentials").write_text("[default]\naws_access_key_id = AKIAPLANTEDPLANTED00\n")
    environment = {
        "HOME": str(folder),
        "GOOGLE_APPLICATION_CREDENTIALS": str(adc),
        "CLOUDSDK_CONFIG": str(adc.parent),
        "GOOGLE_CLOUD_PROJECT": "planted",
        "GOOGLE_CLOUD_QUOTA_PROJECT": "planted",
        "GOOGLE_CLOUD_UNIVERSE_DOMAIN": "planted.example",
        "GOOGLE_API_USE_CLIENT_CERTIFICATE": "true",
        "GOOGLE_API_CERTIFICATE_CONFIG": str(adc),
        "GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES": "1",
        "GCE_METADATA_HOST": origin,
        "GCE_METADATA_ROOT": origin,
        "GCE_METADATA_IP": origin,
        "AWS_ACCESS_KEY_ID": "AKIAPLANTEDPLANTED00",
        "AWS_SECRET_ACCESS_KEY": "planted",
        "AWS_SESSION_TOKEN": "planted",
        "AWS_REGION": "us-west-2",
        "AWS_DEFAULT_REGION": "us-west-2",
        "AWS_PROFILE": "planted",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://{origin}/creds",
        "AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://{origin}",
        "REQUESTS_CA_BUNDLE": "/planted/ca.pem",
        "HTTPS_PROXY": f"http://{origin}",
        "https_proxy": f"http://{origin}",
        "HTTP_PROXY": f"http://{origin}",
        "http_proxy": f"http://{origin}",
        "ALL_PROXY": f"http://{origin}",
        "NO_PROXY": "",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return folder


def methods(world: Clouds, issuer: Issuer) -> list[AuthMethod]:
    """Return one of each method that brings credentials of its own, all of them trusted."""
    set_scene(world)
    world.gcp.let_act(f"serviceAccount:{BROKER}", PULLER)
    trust(world, issuer)
    user = world.aws.add_user(AWS_ACCOUNT, "vreg")
    world.gcp.add_aws_provider(*(POOL | {"provider": "vreg-aws"}).values(), account=AWS_ACCOUNT)
    by_aws = AwsAccessKeyFederation.model_validate(
        POOL
        | {
            "provider": "vreg-aws",
            "access_key_id": user.access_key_id,
            "secret_access_key": Secret(user.secret_access_key),
        }
    )
    key, broker = world.gcp.add_key(PULLER), world.gcp.add_key(BROKER)
    return [by_key(key), by_impersonation(broker, PULLER), by_federation(), by_aws]


async def test_a_planted_set_up_is_never_looked_at(world: Clouds, home: Path, canary: socket.socket) -> None:
    test_issuer = TestIssuer()
    world.sites.serve(HOST, test_issuer.documents())
    issuer = Issuer(test_issuer)
    exchange = exchange_through(world, issuer, Untouchable())
    with files_opened() as opened:
        for method in methods(world, issuer):
            assert isinstance(await exchange.lease_for(order(method)), Issued), method.tag

    assert not [path for path in opened if path.startswith(str(home))]
    asked = {entry.host for entry in world.log.entries()} - {HOST}
    assert asked == _GOOGLE_HOSTS | {"sts.us-east-1.amazonaws.com"}
    assert not any("planted" in entry.principal for entry in world.log.entries())
    with pytest.raises(BlockingIOError):
        canary.accept()


async def test_only_what_the_platform_told_the_broker_leads_to_a_metadata_server(
    world: Clouds, home: Path, canary: socket.socket
) -> None:
    """The process's own variables are not asked: the broker hands on what the operator permitted."""
    del home
    world.gcp.set_machine(PULLER)
    set_scene(world)
    host = world.local["gcp-metadata"].removeprefix("http://")
    exchange = exchange_through(world, environment={"GCE_METADATA_HOST": host})
    assert isinstance(await exchange.lease_for(order(Metadata())), Issued)
    with pytest.raises(BlockingIOError):
        canary.accept()
