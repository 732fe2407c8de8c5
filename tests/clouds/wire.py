"""A request as an emulated service sees it, and what the service answers."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qs, unquote

from tests.clouds.connection import Connection

Headers = tuple[tuple[str, str], ...]


@dataclass
class Note:
    """What a service says about a request for the log; never a secret."""

    operation: str = ""
    region: str = ""
    principal: str = ""
    subject: str = ""
    """What was asked for: a digest, a tag, a role."""


@dataclass
class Request:
    """`path` and `query` are as they came over the wire, not decoded; header names are lower case."""

    connection: Connection
    method: str
    host: str
    path: str
    query: str
    headers: Mapping[str, str]
    chunks: AsyncIterator[bytes]
    note: Note = field(default_factory=Note)

    async def body(self, limit: int = 1024 * 1024) -> bytes:
        """Return the whole body, which the emulated services need not be large."""
        whole = bytearray()
        async for chunk in self.chunks:
            whole += chunk
            if len(whole) > limit:
                raise ValueError("the request's body is too large for an emulated service")
        return bytes(whole)

    @property
    def plain_path(self) -> str:
        """The path, decoded."""
        return unquote(self.path)

    def parameter(self, name: str) -> str | None:
        """Return the first value of a query parameter, decoded."""
        values = parse_qs(self.query, keep_blank_values=True).get(name)
        return values[0] if values else None


@dataclass(frozen=True)
class FileSpan:
    """`length` bytes of a file, from `start`."""

    path: Path
    start: int
    length: int


@dataclass(frozen=True)
class Response:
    """`body` is bytes, part of a file, or a stream that may be of unknown length."""

    status: int = 200
    headers: Headers = ()
    body: bytes | FileSpan | AsyncIterator[bytes] = b""

    @classmethod
    def of_json(cls, status: int, document: object, headers: Headers = ()) -> "Response":
        """Answer with JSON; `headers` may name another content type."""
        kind = () if _has(headers, "content-type") else (("Content-Type", "application/json; charset=utf-8"),)
        return cls(status, (*kind, *headers), json.dumps(document).encode())

    def wire_headers(self) -> list[tuple[bytes, bytes]]:
        """Return the headers for ASGI, with Content-Length where the length is known."""
        headers = list(self.headers)
        length = self.length()
        if length is not None and not _has(self.headers, "content-length"):
            headers.append(("Content-Length", str(length)))
        return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]

    def length(self) -> int | None:
        """Return the body's length, if known before it is sent."""
        if isinstance(self.body, bytes):
            return len(self.body)
        return self.body.length if isinstance(self.body, FileSpan) else None


def _has(headers: Headers, name: str) -> bool:
    return any(each.lower() == name for each, _ in headers)


class Service(Protocol):
    """Something that answers under one or more host names, in its own dialect also when it is unwell."""

    name: str

    async def answer(self, request: Request) -> Response:
        """Answer a request."""
        ...

    def throttled(self, retry_after: int | None) -> Response:
        """Say that there were too many requests, the way this service says it."""
        ...

    def failed(self, status: int) -> Response:
        """Say that the fault is the service's own, the way this service says it."""
        ...


Scope = dict[str, Any]
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
