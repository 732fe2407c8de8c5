"""What a test holds in its hand: addresses and controls of an emulated world.

async with clouds(folder) as world:
scene = set_scene(world)                                  # a key, and the role it may assume
world.ecr(ACCOUNT, REGION, "team/app").push(make_image("app"), "1.0")
registry = world.registry("registry.example.test")        # a real docker-registry
...                                                       # run something with world.environment
world.aws.expire_tokens()
world.faults.add(Fault(Harm.RESET, service="s3", after_bytes=1000))
assert world.log.count(operation="GetAuthorizationToken", region=REGION) == 1
"""

import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TypeVar

import httpx

from tests.clouds.aws.control import AwsControl
from tests.clouds.azure.control import AzureControl
from tests.clouds.content import ContentStore
from tests.clouds.faults import Faults
from tests.clouds.gateway import Gateway
from tests.clouds.gcp.control import GcpControl
from tests.clouds.gcp.repository import GarImages
from tests.clouds.hosting import connected, in_a_process, on_a_thread
from tests.clouds.hub.control import HubControl
from tests.clouds.hub.repository import HubRepository
from tests.clouds.images import EcrPublicRepository, EcrRepository
from tests.clouds.registries import Registries, RunningRegistry
from tests.clouds.remote import Call, remote
from tests.clouds.request_log import RequestLog
from tests.clouds.sites import Sites
from tests.clouds.world import Addresses

T = TypeVar("T")


class Clouds:
    """Controls may be called from anywhere, also while the world is under load; they block for a moment."""

    def __init__(self, addresses: Addresses, call: Call) -> None:
        self.gateway_url = addresses.gateway_url
        self.ca_bundle = addresses.ca_bundle
        self.content = ContentStore(addresses.content)
        self._call = call
        self.aws = self.control(AwsControl, "aws")
        self.azure = self.control(AzureControl, "azure")
        self.gcp = self.control(GcpControl, "gcp")
        self.hub = self.control(HubControl, "hub")
        self.faults = self.control(Faults, "faults")
        self.log = self.control(RequestLog, "log")
        self.gateway = self.control(Gateway, "gateway")
        self.registries = self.control(Registries, "registries")
        self.sites = self.control(Sites, "sites")
        self.local = addresses.local

    def control(self, kind: type[T], name: str) -> T:
        """Return the control of a cloud, or of something else in this world, as what it is there."""
        return remote(kind, name, self._call)

    @property
    def environment(self) -> Mapping[str, str]:
        """Settings that lead vreg, SDKs and other programs through the gateway."""
        return {
            "HTTPS_PROXY": self.gateway_url,
            "NO_PROXY": "127.0.0.1,localhost",
            "VREG_CA_BUNDLE": str(self.ca_bundle),
        }

    def http_client(self) -> httpx.AsyncClient:
        """Return a client that goes through the gateway and trusts nobody but the test authority."""
        context = ssl.create_default_context(cafile=str(self.ca_bundle))
        return httpx.AsyncClient(proxy=self.gateway_url, verify=context, trust_env=False)

    def ecr(self, account: str, region: str, name: str, *, readers: tuple[str, ...] = ()) -> EcrRepository:
        """Make an ECR repository to push to; one that exists gets these readers."""
        self.aws.add_repository(account, region, name, readers=readers)
        return EcrRepository(self.aws, self.content, account, region, name)

    def gar(
        self, project: str, location: str, name: str, image: str, *, readers: tuple[str, ...] = ()
    ) -> GarImages:
        """Make a repository of Artifact Registry to push an image to; one that exists gets these readers."""
        host = self.gcp.add_repository(project, location, name, readers=readers)
        path = f"{project}/{image}" if host == name else f"{project}/{name}/{image}"
        return GarImages(self.gcp, self.content, host, path)

    def ecr_public(self, name: str) -> EcrPublicRepository:
        """Make a repository of ECR Public, such as `docker/library/alpine`, to push to."""
        self.aws.add_public_repository(name)
        return EcrPublicRepository(self.aws, self.content, name)

    def hub_repository(
        self, host: str, name: str, *, is_public: bool = True, readers: tuple[str, ...] = ()
    ) -> HubRepository:
        """Make a repository of Docker Hub or its like to push to; one that exists gets these readers."""
        self.hub.add_repository(host, name, is_public=is_public, readers=readers)
        return HubRepository(self.hub, self.content, host, name)

    def registry(self, host: str = "registry.example.test", *, is_protected: bool = False) -> RunningRegistry:
        """Start a real docker-registry, reachable as `host` behind the gateway."""
        return self.registries.start(host, is_protected=is_protected)


@asynccontextmanager
async def clouds(folder: Path, *, is_separate: bool = False) -> AsyncIterator[Clouds]:
    """Run a world in `folder`: on a thread, or, when it shall not share an interpreter, in a process."""
    with in_a_process(folder) if is_separate else on_a_thread(folder) as (addresses, call):
        yield Clouds(addresses, call)


@contextmanager
def running_clouds(folder: Path) -> Iterator[Clouds]:
    """Drive a world that somebody else runs with `--directory` `folder`."""
    with connected(folder) as (addresses, call):
        yield Clouds(addresses, call)
