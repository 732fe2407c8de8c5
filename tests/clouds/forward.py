"""A service that is a real server on loopback: requests pass through here, so faults and log cover it."""

from collections.abc import AsyncIterator

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from tests.clouds.wire import Request, Response

_HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
)
_PIECE = 256 * 1024


class Forward:
    """Passes on to `origin` (http://127.0.0.1:port); a server that does not answer is a bad gateway."""

    def __init__(self, name: str, origin: str, session: aiohttp.ClientSession) -> None:
        self.name = name
        self.origin = origin
        self._session = session

    async def answer(self, request: Request) -> Response:
        """Pass the request on as it is, with the name it was sent to."""
        request.note.operation = request.method
        url = URL(f"{self.origin}{request.path}{'?' if request.query else ''}{request.query}", encoded=True)
        headers = CIMultiDict((k, v) for k, v in request.headers.items() if k not in _HOP_BY_HOP)
        headers["X-Forwarded-Proto"] = "https"
        has_body = "content-length" in request.headers or "transfer-encoding" in request.headers
        try:
            answer = await self._session.request(
                request.method,
                url,
                headers=headers,
                data=request.chunks if has_body else None,
                allow_redirects=False,
                skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            )
        except aiohttp.ClientError:
            return Response(502, (), b"Bad Gateway\n")
        kept = tuple((k, v) for k, v in answer.headers.items() if k.lower() not in _HOP_BY_HOP)
        return Response(answer.status, kept, _body(answer))

    def throttled(self, retry_after: int | None) -> Response:
        """Throttle as the protocol says."""
        headers = () if retry_after is None else (("Retry-After", str(retry_after)),)
        document = {"errors": [{"code": "TOOMANYREQUESTS", "message": "too many requests"}]}
        return Response.of_json(429, document, headers)

    def failed(self, status: int) -> Response:
        """Be unwell."""
        return Response(status, (("Content-Type", "text/plain"),), b"the registry is unwell\n")


async def _body(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    async with answer:
        async for piece in answer.content.iter_chunked(_PIECE):
            yield piece
