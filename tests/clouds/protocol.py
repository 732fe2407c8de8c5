"""uvicorn's own protocol behind whatever accepts connections here, so that HTTP is that of a real server."""

from collections.abc import Callable

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from tests.clouds.front import Front

_KEEP_ALIVE_SECONDS = 60


class ServerProtocol(HttpToolsProtocol):
    """It also says when the connection is over."""

    def __init__(
        self, config: Config, state: ServerState, app_state: dict[str, object], ended: Callable[[], None]
    ) -> None:
        super().__init__(config, state, app_state)
        self._ended = ended

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._ended()


def served(front: Front) -> Config:
    """Return the configuration to serve a front with; it adds no header of its own."""
    config = Config(
        front,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        ws="none",
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
    )
    config.load()
    return config
