"""HTTP/1.1 as the api accepts it: what a forwarding server may read otherwise than httptools is 400.

That is two Host headers, targets that are no path, another version, and headers of any size or duration.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

MAX_HEADER_BYTES: Final = 16 * 1024
MAX_HEADERS: Final = 100
MAX_TARGET_BYTES: Final = 8 * 1024
HEADER_SECONDS: Final = 20.0
"""From the connection, or the first byte after an answer, to the end of a request's header."""

Headers = Sequence[tuple[bytes, bytes]]


class RefusedRequestError(Exception):
    """The request is answered with 400 and its connection closed."""


def require_plain(version: str, target: bytes, headers: Headers) -> None:
    """Return quietly if everybody who reads the request's head reads the same; raise RefusedRequestError."""
    if version not in {"1.0", "1.1"}:
        raise RefusedRequestError("another protocol")
    if len(target) > MAX_TARGET_BYTES or not target.startswith(b"/") or b"#" in target:
        raise RefusedRequestError("the target is not a path of modest length")
    if (
        len(headers) > MAX_HEADERS
        or sum(len(name) + len(value) for name, value in headers) > MAX_HEADER_BYTES
    ):
        raise RefusedRequestError("the header is too large")
    hosts = [value for name, value in headers if name == b"host"]
    if len(hosts) > 1 or (not hosts and version != "1.0"):
        raise RefusedRequestError("a request has one Host header")


class StrictHttp(HttpToolsProtocol):
    """Raising in a parser callback makes uvicorn answer 400 and close, before any application runs."""

    def __init__(self, *arguments: Any, **named: Any) -> None:  # noqa: ANN401 - uvicorn's own signature
        super().__init__(*arguments, **named)
        self._head_bytes = 0
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin a connection; uvicorn itself would wait for its first request for ever."""
        super().connection_made(transport)
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        """End a connection."""
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take in bytes; while they are not a whole head, count them and watch the time."""
        super().data_received(data)
        if not self._is_waiting():
            return
        self._head_bytes += len(data)
        if self._head_bytes > MAX_HEADER_BYTES + MAX_TARGET_BYTES:
            self.send_400_response("The header is too large.")
        elif self._deadline is None and self.timeout_keep_alive_task is None:
            self._arm()

    def on_headers_complete(self) -> None:
        """Begin the answer, if the request is one."""
        self._disarm()
        require_plain(self.parser.get_http_version(), self.url, self.headers)
        self._head_bytes = 0
        super().on_headers_complete()

    def _is_waiting(self) -> bool:
        """Whether no answer is under way, so that the client is the one to act."""
        cycle: RequestResponseCycle | None = self.cycle
        if self.transport.is_closing():
            return False
        return cycle is None or cycle.response_complete or cycle.scope is not self.scope

    def _arm(self) -> None:
        self._deadline = self.loop.call_later(HEADER_SECONDS, self.transport.close)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
