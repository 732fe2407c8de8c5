"""How much one client may ask at once, so that there is room for the others.

A client is an access token, or an address without one. The client of a request goes with its task, and so
with the fill that it begins.
"""

from collections.abc import Callable
from contextvars import ContextVar
from typing import Final

from vreg_shared.failure_limit import source_of

UNKNOWN_CLIENT: Final = "unknown"
asking_client: ContextVar[str] = ContextVar("asking_client", default=UNKNOWN_CLIENT)


class ClientLimit:
    """Counts each client's requests in this process. `on_hit` hears of every one too many."""

    def __init__(self, most: int, on_hit: Callable[[], None]) -> None:
        self._most = most
        self._on_hit = on_hit
        self._running: dict[str, int] = {}

    def enter(self, client: str) -> bool:
        """Whether the client may begin one more; then it leaves once."""
        running = self._running.get(client, 0)
        if running >= self._most:
            self._on_hit()
            return False
        self._running[client] = running + 1
        return True

    def leave(self, client: str) -> None:
        """Count one less."""
        running = self._running.pop(client) - 1
        if running:
            self._running[client] = running


def address_of(peer: tuple[str, int] | None) -> str:
    """Return whom a connection without a token counts as."""
    if peer is None:
        return UNKNOWN_CLIENT
    return source_of(peer[0].partition("%")[0])
