"""HTTP/1.1 as the proxy accepts it: httptools, and refusals for what it lets through.

h11 accepts request smuggling. httptools still takes two Host headers, headers of any size and absolute-form
targets, and uvicorn waits for a request's header for ever.
"""

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

MAX_HEADER_BYTES: Final = 32 * 1024
MAX_HEADERS: Final = 100
MAX_TARGET_BYTES: Final = 16 * 1024
HEADER_SECONDS: Final = 20.0
"""From the connection, or the end of the last answer, to the end of a request's header."""


class RefusedRequestError(Exception):
    """The request is answered with 400 and its connection closed."""


class StrictHttp(HttpToolsProtocol):
    """Raising in a parser callback makes uvicorn answer 400 and close, before any application runs."""

    def __init__(self, *arguments: Any, **named: Any) -> None:  # noqa: ANN401 - uvicorn's own signature
        super().__init__(*arguments, **named)
        self._header_bytes = 0
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin a connection."""
        super().connection_made(transport)
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        """End a connection."""
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take in bytes; while they are not a whole header, count them and watch the time."""
        super().data_received(data)
        if self._is_waiting():
            self._header_bytes += len(data)
            if self._header_bytes > MAX_HEADER_BYTES + MAX_TARGET_BYTES:
                self.send_400_response("The header is too large.")
            elif self._deadline is None and self.timeout_keep_alive_task is None:
                self._arm()

    def on_headers_complete(self) -> None:
        """Begin the answer, if the request is one."""
        self._disarm()
        size = hosts = 0
        for name, value in self.headers:
            size += len(name) + len(value)
            hosts += name == b"host"
        if size > MAX_HEADER_BYTES or len(self.headers) > MAX_HEADERS:
            raise RefusedRequestError("the header is too large")
        if hosts != 1 and (hosts or self.parser.get_http_version() != "1.0"):
            raise RefusedRequestError("a request has one Host header")
        if len(self.url) > MAX_TARGET_BYTES or not self.url.startswith(b"/"):
            raise RefusedRequestError("the target is not a path of modest length")
        self._header_bytes = 0
        super().on_headers_complete()

    def _is_waiting(self) -> bool:
        """Whether no answer is under way, so that the client is the one to act."""
        cycle: RequestResponseCycle | None = self.cycle
        if self.transport.is_closing():
            return False
        return cycle is None or cycle.response_complete or cycle.scope is not self.scope

    def _arm(self) -> None:
        self._deadline = self.loop.call_later(HEADER_SECONDS, self._give_up)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        self._deadline = None
        if not self.transport.is_closing():
            self.transport.close()
