"""Bodies: bounded, JSON by the book, and without characters that databases choke on, or answered with 4xx."""

import asyncio
from collections.abc import Iterator
from types import MappingProxyType
from typing import Any, Final

from pydantic_core import from_json
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vreg_api import problems
from vreg_api.problem_responses import problem_response
from vreg_api.problems import ProblemError

MAX_BODY_BYTES: Final = 1024 * 1024
BODY_SECONDS: Final = 30.0
_CLOSE: Final = MappingProxyType({"Connection": "close"})
_MAX_FIELD_PART: Final = 64


class StrictJson:
    """Reads a request's body whole and passes it on only if it is sane, so that nobody below need ask."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 400, 413, 415 or 422, or pass the request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        try:
            async with asyncio.timeout(BODY_SECONDS):
                body = await _read(headers, receive)
            if body is None:
                return  # the client went away
            if body:
                _require_json(headers)
                _require_sane(body)
        except TimeoutError:
            late = ProblemError(problems.TIMEOUT, "the body did not arrive in time", headers=_CLOSE)
            await problem_response(late)(scope, receive, send)
            return
        except ProblemError as problem:
            await problem_response(problem)(scope, receive, send)
            return
        await self._app(scope, _replay(body, receive), send)


async def _read(headers: Headers, receive: Receive) -> bytes | None:
    length = headers.get("content-length", "0")
    if not (length.isascii() and length.isdigit()):
        raise ProblemError(problems.MALFORMED, "Content-Length: is not a number")
    if len(length) > len(str(MAX_BODY_BYTES)) or int(length) > MAX_BODY_BYTES:
        raise _too_large()
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if len(body) > MAX_BODY_BYTES:
            raise _too_large()
        if not message.get("more_body", False):
            return bytes(body)


def _too_large() -> ProblemError:
    detail = f"a body has at most {MAX_BODY_BYTES} bytes"
    return ProblemError(problems.TOO_LARGE, detail, headers=_CLOSE)


def _require_json(headers: Headers) -> None:
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in {"application/json", "application/merge-patch+json"}:
        raise ProblemError(problems.UNSUPPORTED_MEDIA_TYPE, "send Content-Type: application/json")
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise ProblemError(problems.UNSUPPORTED_MEDIA_TYPE, "send the body without Content-Encoding")


def _require_sane(body: bytes) -> None:
    try:
        value = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        # The parser's text tells the place and never the content.
        raise ProblemError(problems.MALFORMED, f"the body is not JSON: {error}") from None
    for path in _places_of_nul(value, ()):
        raise problems.invalid(".".join(path) or "body", "nul", "must not contain the NUL character")


def _places_of_nul(value: Any, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:  # noqa: ANN401 - JSON
    """Yield where a string holds NUL; the parser has bounded the depth."""
    if isinstance(value, str):
        if "\0" in value:
            yield path
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _places_of_nul(key, path)
            yield from _places_of_nul(inner, (*path, key[:_MAX_FIELD_PART]))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _places_of_nul(inner, (*path, str(index)))


def _replay(body: bytes, receive: Receive) -> Receive:
    """Give the body again, then whatever comes after it."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return waiting.pop() if waiting else await receive()

    return replayed
