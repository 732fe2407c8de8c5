"""HTTP/1.1 as the proxy accepts it: httptools, and refusals for what it lets through.

h11 accepts request smuggling. httptools still takes two Host headers, headers of any size, absolute-form
targets and HTTP/2.0 in a first line, and uvicorn waits for a request's header for ever. We read no bodies.
"""

import asyncio
from typing import TYPE_CHECKING, Any, Final

from vreg_proxy.door import STATE_KEY, Door, Place
from vreg_proxy.express import ExpressHttp
from vreg_proxy.limits import address_of

if TYPE_CHECKING:
    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

MAX_HEADER_BYTES: Final = 32 * 1024
MAX_HEADERS: Final = 100
MAX_TARGET_BYTES: Final = 16 * 1024
HEADER_SECONDS: Final = 20.0
"""From the connection, or the end of the last answer, to the end of a request's header."""
HEALTH_SECONDS: Final = 2.0
"""The same for a connection that may only ask for health, so that such places are soon free again."""


_HEALTH: Final = frozenset({b"/livez", b"/readyz"})
_VERSIONS: Final = frozenset({"1.0", "1.1"})
_READING: Final = frozenset({b"GET", b"HEAD"})
_FULL: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
)


class RefusedRequestError(Exception):
    """The request is answered with 400 and its connection closed."""


class StrictHttp(ExpressHttp):
    """Raising in a parser callback makes uvicorn answer 400 and close, before any application runs."""

    def __init__(self, *arguments: Any, **named: Any) -> None:  # noqa: ANN401 - uvicorn's own signature
        super().__init__(*arguments, **named)
        self._header_bytes = 0
        self._has_header_ended = False
        self._deadline: asyncio.TimerHandle | None = None
        self._door: Door | None = self.app_state.get(STATE_KEY)
        self._place = Place.ANYTHING
        self._source = ""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin a connection, or send it away when there are too many."""
        super().connection_made(transport)
        if self._door is not None:
            self._source = address_of(self.client)
            self._place = self._door.enter(self._source)
        self._arm()
        if self._place is Place.NOTHING:
            self._turn_away()

    def send_400_response(self, msg: str) -> None:
        """Refuse a request; one without a place for it was right, but came at a bad time."""
        if self._place is Place.ANYTHING:
            super().send_400_response(msg)
        else:
            self._turn_away()

    def connection_lost(self, exc: Exception | None) -> None:
        """End a connection."""
        self._disarm()
        if self._door is not None:
            self._door.leave(self._source, self._place)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take in bytes; while they are not a whole header, count them and watch the time."""
        self._has_header_ended = False
        super().data_received(data)
        if not self._has_header_ended and self._is_waiting():
            self._header_bytes += len(data)
            if self._header_bytes > MAX_HEADER_BYTES + MAX_TARGET_BYTES:
                self.send_400_response("The header is too large.")
            elif self._deadline is None and self.timeout_keep_alive_task is None:
                self._arm()

    def on_headers_complete(self) -> None:
        """Begin the answer, if the request is one."""
        self._disarm()
        size = hosts = 0
        has_body = False
        for name, value in self.headers:
            size += len(name) + len(value)
            hosts += name == b"host"
            has_body |= name == b"transfer-encoding" or (
                name == b"content-length" and value.strip(b"0") != b""
            )
        if size > MAX_HEADER_BYTES or len(self.headers) > MAX_HEADERS:
            raise RefusedRequestError("the header is too large")
        version = self.parser.get_http_version()
        if version not in _VERSIONS:
            raise RefusedRequestError("another protocol")
        if hosts != 1 and (hosts or version != "1.0"):
            raise RefusedRequestError("a request has one Host header")
        if len(self.url) > MAX_TARGET_BYTES or not self.url.startswith(b"/") or b"#" in self.url:
            raise RefusedRequestError("the target is not a path of modest length")
        if has_body and self.parser.get_method() in _READING:
            raise RefusedRequestError("a request that reads has no body")
        if self._place is not Place.ANYTHING and self.url not in _HEALTH:
            raise RefusedRequestError("no place for it")
        self._header_bytes, self._has_header_ended = 0, True
        self.expect_100_continue = False
        is_closing = self._door is not None and self._door.is_closing
        self.is_last = has_body or is_closing or self._place is Place.HEALTH
        super().on_headers_complete()
        if self.is_last:
            self.cycle.keep_alive = False

    def _is_waiting(self) -> bool:
        """Whether no answer is under way, so that the client is the one to act."""
        cycle: RequestResponseCycle | None = self.cycle
        if self.transport.is_closing():
            return False
        return cycle is None or cycle.response_complete or cycle.scope is not self.scope

    def _turn_away(self) -> None:
        if self._door is not None and not self.transport.is_closing():
            self._door.turned_away += 1
            self.transport.write(_FULL)
            self.transport.close()

    def _arm(self) -> None:
        seconds = HEALTH_SECONDS if self._place is Place.HEALTH else HEADER_SECONDS
        self._deadline = self.loop.call_later(seconds, self._give_up)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        self._deadline = None
        if not self.transport.is_closing():
            self.transport.close()
