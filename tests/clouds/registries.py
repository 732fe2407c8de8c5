"""Real registries under names of their choice behind the gateway, started and stopped on command."""

from dataclasses import dataclass
from pathlib import Path

import aiohttp

from tests.clouds.docker_registry import DockerRegistry
from tests.clouds.forward import Forward


@dataclass(frozen=True, slots=True)
class RunningRegistry:
    """`host` is its name behind the gateway, `origin` its address on loopback for pushes."""

    host: str
    origin: str
    username: str | None
    password: str | None

    @property
    def auth(self) -> tuple[str, str] | None:
        """User name and password, if it wants them."""
        return None if self.username is None or self.password is None else (self.username, self.password)


class Registries:
    """One docker-registry a host name. Stopped ones keep their name, port and content."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._session: aiohttp.ClientSession | None = None
        self._running: dict[str, DockerRegistry] = {}
        self._services: dict[str, Forward] = {}

    def open(self, session: aiohttp.ClientSession) -> None:
        """Give it the session that requests are passed on with."""
        self._session = session

    def service(self, host: str) -> Forward | None:
        """Return what answers under a host name."""
        return self._services.get(host)

    def start(self, host: str, *, is_protected: bool = False) -> RunningRegistry:
        """Start the registry of this name, or start it again."""
        registry = self._running.get(host) or DockerRegistry(self._folder / host, is_protected=is_protected)
        registry.start()
        self._running[host] = registry
        assert self._session is not None
        self._services[host] = Forward(f"registry:{host}", registry.origin, self._session)
        username, password = registry.auth or (None, None)
        return RunningRegistry(host, registry.origin, username, password)

    def stop(self, host: str) -> None:
        """Stop it; its name still leads to where nobody listens."""
        self._running[host].stop()

    def stop_all(self) -> None:
        """Stop them all."""
        for registry in self._running.values():
            registry.stop()
