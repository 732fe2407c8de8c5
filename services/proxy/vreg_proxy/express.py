"""Answers that are ready in memory, written at once: no task, no event, no second look at our own headers.

Most of the work for a cached manifest is machinery that lets an application wait, and here is nothing to wait
for. The application decides by the same rules as ever; whatever is not ready, and every refusal, goes the
usual way.
"""

import asyncio
from typing import TYPE_CHECKING, Any, Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from vreg_proxy.distribution.replies import Headers, Reply, Scope

if TYPE_CHECKING:
    from collections.abc import Callable

_METHODS: Final = {b"GET": "GET", b"HEAD": "HEAD"}
_END: Final = b"\r\n"


class ExpressHttp(HttpToolsProtocol):
    """One connection. Its application may be one that Serves, or any other."""

    def __init__(self, *arguments: Any, **named: Any) -> None:  # noqa: ANN401 - uvicorn's own signature
        super().__init__(*arguments, **named)
        self._at_once: Callable[[Scope], Reply | None] | None = getattr(self.app, "at_once", None)
        self._answered: RequestResponseCycle | None = None
        self.is_last = False
        """Whether the connection ends with the answer to the request that has just come."""

    def on_headers_complete(self) -> None:
        """Answer at once, or begin the usual way."""
        answer = self._ready()
        if answer is None:
            super().on_headers_complete()
            return
        if self._answered is None:
            self._answered = self._complete()
        self.cycle = self._answered
        self.transport.write(answer)
        self.on_response_complete()

    def _ready(self) -> bytes | None:
        """Return the whole answer, if none is under way, the client keeps up and the request is plain."""
        method = _METHODS.get(self.parser.get_method())
        if self._at_once is None or method is None or not self._is_plain():
            return None
        reply = self._at_once(
            {"method": method, "raw_path": self.url, "query_string": b"", "headers": self.headers}
        )
        if reply is None:
            return None
        head = _head(reply.status, [*self.server_state.default_headers, *reply.headers])
        return head if head is None or method == "HEAD" else head + reply.body

    def _is_plain(self) -> bool:
        before: RequestResponseCycle | None = self.cycle
        is_free = before is None or before.response_complete
        is_waiting = self.flow.write_paused or self.expect_100_continue
        stays = self.parser.should_keep_alive() and not (self.is_last or self.parser.should_upgrade())
        return is_free and not is_waiting and stays and b"?" not in self.url

    def _complete(self) -> RequestResponseCycle:
        """Return what stands for an answer that was given: uvicorn looks whether the last one is complete."""
        cycle = RequestResponseCycle(
            scope=self.scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=[],
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=True,
            on_response=self.on_response_complete,
        )
        cycle.response_started = cycle.response_complete = True
        return cycle


def _head(status: int, headers: Headers) -> bytes | None:
    """Return status and headers as they are sent; None when a header holds the end of a line."""
    lines = [b"%b: %b\r\n" % header for header in headers]
    head = b"".join((STATUS_LINE[status], *lines, _END))
    return head if head.count(b"\r") == head.count(b"\n") == len(lines) + 2 else None
