"""One request and its answer: the only place that tries again."""

import asyncio
import random
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final

import aiohttp
from yarl import URL

from vreg_shared.errors import VregError
from vreg_shared.provider import Answer, Verdict
from vreg_shared.registry_client.failures import BROKEN, failure_of

TRIES: Final = 3
BACKOFF_BASE_SECONDS: Final = 0.05
BACKOFF_CAP_SECONDS: Final = 2.0
MAX_HEADER_BYTES: Final = 32 * 1024
MAX_ERROR_BYTES: Final = 8 * 1024
_TRIED_AGAIN: Final = frozenset({"connection_refused", "connection_failed", "dns_failed"})


class RequestFailedError(VregError):
    """There is no answer to judge, or none that may be read; `verdict` says why."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(f"the request failed: {verdict.reason}")
        self.verdict = verdict


def unavailable(reason: str, detail: str = "") -> RequestFailedError:
    """Return the error for a failure that says nothing about the thing asked for."""
    return RequestFailedError(Verdict(Answer.UNAVAILABLE, reason, detail=detail))


class Transport:
    """Sends GET and HEAD, at most three times until an answer begins; all else is the caller's."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        jitter: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._session = session
        self._jitter = jitter

    async def send(self, method: str, url: URL, headers: Mapping[str, str]) -> aiohttp.ClientResponse:
        """Return an answer whose body is unread; raise RequestFailedError."""
        tries_left = TRIES
        while True:
            tries_left -= 1
            try:
                response = await self._session.request(method, url, headers=headers, allow_redirects=False)
            except Exception as error:
                failure = failure_of(error, url)
                if failure is None:
                    raise
                if failure.reason not in _TRIED_AGAIN or not tries_left:
                    raise RequestFailedError(failure) from error
            else:
                return _with_modest_headers(response)
            await asyncio.sleep(self._backoff(TRIES - tries_left))

    def _backoff(self, failures: int) -> float:
        """Full jitter: anything from nothing to the capped exponential."""
        return self._jitter(0, min(BACKOFF_CAP_SECONDS, BACKOFF_BASE_SECONDS * 2**failures))


def _with_modest_headers(response: aiohttp.ClientResponse) -> aiohttp.ClientResponse:
    if sum(len(name) + len(value) for name, value in response.raw_headers) > MAX_HEADER_BYTES:
        response.close()
        raise unavailable("headers_too_large")
    return response


async def read_body(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """Return the whole body and free the connection; raise RequestFailedError when it exceeds `limit`."""
    if is_encoded(response):
        response.close()
        raise unavailable("body_encoded")
    body = await _read_up_to(response, limit + 1)
    if len(body) > limit:
        response.close()
        raise unavailable("body_too_large", f"more than {limit} bytes")
    return body


async def read_error_body(response: aiohttp.ClientResponse) -> bytes:
    """Return the beginning of an error's body, empty when it is encoded; raise RequestFailedError.

    A body that breaks off is a failure: what it did not come to say may be all that the status leaves open.
    """
    if is_encoded(response):
        response.close()
        return b""
    return await _read_up_to(response, MAX_ERROR_BYTES)


async def discard(response: aiohttp.ClientResponse) -> None:
    """Be done with an answer whose body nobody needs, and keep its connection where that is cheap."""
    with suppress(RequestFailedError):
        await read_error_body(response)


async def _read_up_to(response: aiohttp.ClientResponse, limit: int) -> bytes:
    body = bytearray()
    try:
        while len(body) < limit:
            chunk = await response.content.read(limit - len(body))
            if not chunk:
                response.release()
                return bytes(body)
            body += chunk
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        response.close()
        raise RequestFailedError(failure_of(error, response.url) or BROKEN) from error
    except asyncio.CancelledError:
        response.close()
        raise
    response.close()
    return bytes(body)


def is_encoded(response: aiohttp.ClientResponse) -> bool:
    """Whether the body is not the bytes themselves, although we asked for `identity`."""
    return response.headers.get("Content-Encoding", "identity").strip().lower() not in {"", "identity"}
