"""Whole answers: a status, headers and a body that is in memory."""

import json
import secrets
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass
from typing import Any, Final

from vreg_shared.oci.errors import OciError, error_body

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
Receive = Callable[[], Awaitable[Message]]
Scope = MutableMapping[str, Any]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

JSON_TYPE: Final = (b"content-type", b"application/json")
API_VERSION: Final = (b"docker-distribution-api-version", b"registry/2.0")
REQUEST_ID: Final = b"x-request-id"
CLOSE: Final = (b"connection", b"close")


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer; `headers` include its Content-Length."""

    status: int
    headers: Headers
    body: bytes = b""

    async def send(self, send: Send, *, with_body: bool = True) -> None:
        """Send it; to HEAD without its body."""
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send({"type": "http.response.body", "body": self.body if with_body else b""})

    def with_headers(self, *headers: tuple[bytes, bytes]) -> "Reply":
        """Return the same answer with more headers."""
        return Reply(self.status, [*self.headers, *headers], self.body)


def json_reply(
    status: int,
    value: object,
    headers: Iterable[tuple[bytes, bytes]] = (),
    *,
    content_type: str = "application/json",
) -> Reply:
    """Return a JSON answer."""
    body = json.dumps(value, separators=(",", ":")).encode()
    return Reply(
        status, [(b"content-type", content_type.encode("ascii")), API_VERSION, _length(body), *headers], body
    )


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a request gets no content: one of OCI's codes, in our own words.

    `reason` is a stable code, told to the client; `detail` may hold an upstream's words and is for the log.
    `retry_after` is seconds.
    """

    error: OciError
    reason: str = ""
    retry_after: float | None = None
    detail: str = ""
    message: str | None = None
    challenge: str | None = None
    content_range: str | None = None
    upstream_id: str = ""
    closes: bool = False


def problem_reply(problem: Problem, request_id: str) -> Reply:
    """Return an error as a registry client understands it; `request_id` finds it in our log."""
    detail = {"reason": problem.reason} if problem.reason else None
    body = error_body(problem.error, problem.message, detail)
    headers: Headers = [JSON_TYPE, API_VERSION, _length(body), (REQUEST_ID, request_id.encode("ascii"))]
    if problem.challenge is not None:
        headers.append((b"www-authenticate", problem.challenge.encode("ascii")))
    if problem.retry_after is not None:
        headers.append((b"retry-after", str(max(1, round(problem.retry_after))).encode()))
    if problem.content_range is not None:
        headers.append((b"content-range", problem.content_range.encode("ascii")))
    if problem.error is OciError.UNSUPPORTED:
        headers.append((b"allow", b"GET, HEAD"))
    if problem.closes:
        headers.append(CLOSE)
    return Reply(problem.error.status, headers, body)


def new_request_id() -> str:
    """Return an id that ties an error to its lines in the log. It is ours: a client's own is not echoed."""
    return secrets.token_hex(8)


def _length(body: bytes) -> tuple[bytes, bytes]:
    return b"content-length", str(len(body)).encode()
