"""What a machine in a cloud reaches in clear: metadata servers and credential endpoints, each on loopback."""

import asyncio
from collections.abc import Mapping
from typing import cast

from uvicorn.config import Config
from uvicorn.server import ServerState

from tests.clouds.clock import CloudClock
from tests.clouds.connection import Connection
from tests.clouds.faults import Faults
from tests.clouds.front import Front
from tests.clouds.protocol import ServerProtocol, served
from tests.clouds.request_log import RequestLog
from tests.clouds.wire import Service


class LocalServices:
    """One port a service. Faults and log know them by their name, which is also their host."""

    def __init__(
        self, services: Mapping[str, Service], faults: Faults, log: RequestLog, clock: CloudClock
    ) -> None:
        self._configs = {name: served(Front(each, faults, log, clock)) for name, each in services.items()}
        self._state = ServerState()
        self._servers: list[asyncio.Server] = []

    async def start(self) -> dict[str, str]:
        """Listen on loopback; return the origins by name."""
        origins = {}
        for name, config in self._configs.items():
            server = await asyncio.get_running_loop().create_server(
                lambda name=name, config=config: _Door(name, config, self._state), "127.0.0.1", 0
            )
            self._servers.append(server)
            origins[name] = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        return origins

    async def stop(self) -> None:
        """Stop listening."""
        for server in self._servers:
            server.close()
        for connection in tuple(self._state.connections):
            connection.shutdown()
        if self._state.tasks:
            await asyncio.wait(self._state.tasks, timeout=5.0)


class _Door(ServerProtocol):
    """Tells the front which service the connection is to, whatever name the client calls it by."""

    def __init__(self, name: str, config: Config, state: ServerState) -> None:
        self._name = name
        self._app_state: dict[str, object] = {}
        super().__init__(config, state, self._app_state, self._over)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        self._app_state["connection"] = Connection(self._name, transport, is_local=True)
        super().connection_made(transport)

    def _over(self) -> None:
        cast("Connection", self._app_state["connection"]).closed.set()
