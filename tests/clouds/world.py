"""The emulated world put together: gateway, clouds, real registries, sites, and the controls of them all."""

import asyncio
import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from yarl import URL

from tests.clouds.authority import Authority
from tests.clouds.clock import CloudClock
from tests.clouds.cloud import Cloud, Parts
from tests.clouds.content import ContentStore
from tests.clouds.faults import Faults
from tests.clouds.gateway import Gateway
from tests.clouds.local import LocalServices
from tests.clouds.oidc import TokenVerifier
from tests.clouds.registries import Registries
from tests.clouds.remote import dispatch
from tests.clouds.request_log import RequestLog
from tests.clouds.sites import Sites
from tests.clouds.wire import Service

CONTENT = "content"
CA_BUNDLE = "ca.pem"
_FETCH_SECONDS = 5.0
_CLOUDS = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Addresses:
    """How to reach a running world."""

    gateway_url: str
    """For HTTPS_PROXY."""
    ca_bundle: Path
    content: Path
    """The folder that pushes into the emulated registries write to."""
    local: dict[str, str]
    """Origins of what machines in the clouds reach in clear, by name."""


class World:
    """Lives on one loop, between `start` and `stop`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        clock, faults, log, authority = CloudClock(), Faults(), RequestLog(), Authority()
        parts = Parts(clock, ContentStore(folder / CONTENT), TokenVerifier(self), self)
        self._clouds = {name: _made(name, parts) for name in cloud_names()}
        self._authority = authority
        self._registries, self._sites = Registries(folder / "registries"), Sites()
        self._gateway = Gateway(self._find, authority, faults, log, clock)
        local = {name: service for each in self._clouds.values() for name, service in each.local.items()}
        self._local = LocalServices(local, faults, log, clock)
        self._session: aiohttp.ClientSession | None = None
        self._gateway_url = ""
        self._controls: dict[str, object] = {
            **{name: each.control for name, each in self._clouds.items()},
            "faults": faults,
            "log": log,
            "gateway": self._gateway,
            "registries": self._registries,
            "sites": self._sites,
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
        self._sites.open(self._session)
        self._gateway_url = f"http://127.0.0.1:{await self._gateway.start(port)}"
        local = await self._local.start()
        bundle = self._authority.write_bundle(self._folder / CA_BUNDLE)
        return Addresses(self._gateway_url, bundle, self._folder / CONTENT, local)

    async def stop(self) -> None:
        """Leave nothing behind but files."""
        await self._local.stop()
        await self._gateway.stop()
        if self._session is not None:
            await self._session.close()
        await asyncio.to_thread(self._registries.stop_all)

    async def control(self, name: str, method: str, arguments: str) -> str:
        """Call a control; raise ControlError."""
        if name == "registries":  # starts and stops processes: the gateway must not wait for it
            return await asyncio.to_thread(dispatch, self._controls, name, method, arguments)
        return dispatch(self._controls, name, method, arguments)

    async def get_json(self, url: str) -> Any:  # noqa: ANN401 -- whatever is served there
        """Fetch a document as a cloud would: over HTTPS, under its public name; raise OSError."""
        assert self._session is not None
        context = self._authority.client_context()
        timeout = aiohttp.ClientTimeout(total=_FETCH_SECONDS)
        try:
            async with self._session.get(
                URL(url), proxy=self._gateway_url, ssl=context, timeout=timeout, allow_redirects=False
            ) as answer:
                if answer.status != 200:
                    raise OSError(f"{url} answered {answer.status}")
                return await answer.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise OSError(f"{url}: {error}") from error

    async def post(self, url: str, headers: Mapping[str, str]) -> str:
        """Ask as one cloud asks another; raise OSError for anything but a success."""
        assert self._session is not None
        context = self._authority.client_context()
        timeout = aiohttp.ClientTimeout(total=_FETCH_SECONDS)
        try:
            async with self._session.post(
                URL(url, encoded=True),
                headers=headers,
                proxy=self._gateway_url,
                ssl=context,
                timeout=timeout,
                allow_redirects=False,
                skip_auto_headers=("Content-Type",),
            ) as answer:
                if answer.status != 200:
                    raise OSError(f"{url} answered {answer.status}")
                return await answer.text()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise OSError(f"{url}: {error}") from error

    def _find(self, host: str) -> Service | None:
        for each in self._clouds.values():
            service = each.find(host)
            if service is not None:
                return service
        return self._sites.service(host) or self._registries.service(host)


def cloud_names() -> list[str]:
    """Return the names of the emulated clouds: the folders that have a module `cloud`."""
    return sorted(each.parent.name for each in _CLOUDS.glob("*/cloud.py"))


def _made(name: str, parts: Parts) -> Cloud:
    made: Cloud = importlib.import_module(f"tests.clouds.{name}.cloud").cloud(parts)
    return made
