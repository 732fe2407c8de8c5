"""The emulated world put together: gateway, AWS, real registries, and the controls of all of them."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from tests.clouds.authority import Authority
from tests.clouds.aws.control import AwsControl
from tests.clouds.aws.ecr_api import EcrApi
from tests.clouds.aws.ecr_registry import EcrRegistry
from tests.clouds.aws.layer_bucket import LayerBucket
from tests.clouds.aws.places import find_place
from tests.clouds.aws.state import AwsState
from tests.clouds.aws.sts import Sts
from tests.clouds.clock import CloudClock
from tests.clouds.content import ContentStore
from tests.clouds.faults import Faults
from tests.clouds.gateway import Gateway
from tests.clouds.registries import Registries
from tests.clouds.remote import dispatch
from tests.clouds.request_log import RequestLog
from tests.clouds.wire import Service

CONTENT = "content"
CA_BUNDLE = "ca.pem"


@dataclass(frozen=True, slots=True)
class Addresses:
    """How to reach a running world."""

    gateway_url: str
    """For HTTPS_PROXY."""
    ca_bundle: Path
    content: Path
    """The folder that pushes into the emulated ECR write to."""


class World:
    """Lives on one loop, between `start` and `stop`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        clock, faults, log, authority = CloudClock(), Faults(), RequestLog(), Authority()
        state = AwsState(clock, ContentStore(folder / CONTENT))
        bucket = LayerBucket(state)
        self._aws: dict[str, Service] = {
            service.name: service
            for service in (Sts(state), EcrApi(state), EcrRegistry(state, bucket), bucket)
        }
        self._authority = authority
        self._registries = Registries(folder / "registries")
        self._gateway = Gateway(self._find, authority, faults, log, clock)
        self._session: aiohttp.ClientSession | None = None
        self._controls: dict[str, object] = {
            "aws": AwsControl(state, bucket),
            "faults": faults,
            "log": log,
            "gateway": self._gateway,
            "registries": self._registries,
        }

    async def start(self, port: int = 0) -> Addresses:
        """Listen on loopback."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=5),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        self._registries.open(self._session)
        bound = await self._gateway.start(port)
        bundle = self._authority.write_bundle(self._folder / CA_BUNDLE)
        return Addresses(f"http://127.0.0.1:{bound}", bundle, self._folder / CONTENT)

    async def stop(self) -> None:
        """Leave nothing behind but files."""
        await self._gateway.stop()
        if self._session is not None:
            await self._session.close()
        await asyncio.to_thread(self._registries.stop_all)

    async def control(self, name: str, method: str, arguments: str) -> str:
        """Call a control; raise ControlError."""
        if name == "registries":  # starts and stops processes: the gateway must not wait for it
            return await asyncio.to_thread(dispatch, self._controls, name, method, arguments)
        return dispatch(self._controls, name, method, arguments)

    def _find(self, host: str) -> Service | None:
        place = find_place(host)
        return self._aws[place.service] if place is not None else self._registries.service(host)
