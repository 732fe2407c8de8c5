"""Where blobs lie: a CDN that knows no credentials but the one in the address, and refuses any other."""

import hmac
import secrets

from tests.clouds.hub.model import HubState
from tests.clouds.ranges import read_range
from tests.clouds.shelf import whole
from tests.clouds.wire import FileSpan, Request, Response

_HTML = ("Content-Type", "text/html")


class BlobCdn:
    """The address is good for GET and HEAD, for a while, byte for byte."""

    name = "hub-cdn"

    def __init__(self, state: HubState) -> None:
        self._state = state
        self._key = secrets.token_bytes(32)

    def path_of(self, digest: str) -> str:
        """Return the path of a blob; two slashes are the storage driver's own."""
        algorithm, _, value = digest.partition(":")
        return f"/registry-v2//docker/registry/v2/blobs/{algorithm}/{value[:2]}/{value}/data"

    def presign(self, host: str, digest: str) -> str:
        """Return an address that is good for this blob."""
        path, ends_at = (
            self.path_of(digest),
            f"{self._state.clock.now() + self._state.storage_url_seconds:.3f}",
        )
        return f"https://{host}{path}?verify={ends_at}-{self._sign(host, path, ends_at)}"

    async def answer(self, request: Request) -> Response:
        """Serve what a signed address names, also a range of it."""
        request.note.operation = "GetObject"
        if "authorization" in request.headers:
            return _error(400, "InvalidArgument")
        ends_at, _, signature = (request.parameter("verify") or "").partition("-")
        expected = self._sign(request.host, request.path, ends_at)
        if request.method not in {"GET", "HEAD"} or not hmac.compare_digest(signature, expected):
            return _error(403, "AccessDenied")
        if self._state.clock.now() >= float(ends_at):
            return _error(403, "ExpiredToken")
        digest = ":".join(request.path.split("/")[-4:-1:2])
        request.note.subject = digest
        if not self._state.content.path(digest).exists():
            return _error(404, "NoSuchKey")
        return self._serve(request, digest)

    def throttled(self, retry_after: int | None) -> Response:
        """Ask to slow down."""
        headers = () if retry_after is None else (("Retry-After", str(retry_after)),)
        return Response(429, (_HTML, *headers), b"<html>error code: 1015</html>")

    def failed(self, status: int) -> Response:
        """Be unwell."""
        return Response(status, (_HTML,), b"<html>error code: 502</html>")

    def _serve(self, request: Request, digest: str) -> Response:
        headers = (("Content-Type", "application/octet-stream"), ("Accept-Ranges", "bytes"))
        span = whole(self._state.content, digest)
        wanted = read_range(request.headers.get("range"), span.length)
        if wanted is None:
            return Response(200, headers, span)
        first, last = wanted
        if first >= span.length or last < first:
            return _error(416, "InvalidRange")
        told = ("Content-Range", f"bytes {first}-{last}/{span.length}")
        return Response(206, (*headers, told), FileSpan(span.path, first, last - first + 1))

    def _sign(self, host: str, path: str, ends_at: str) -> str:
        return hmac.digest(self._key, f"{host}\n{path}\n{ends_at}".encode("latin-1"), "sha256").hex()


def _error(status: int, code: str) -> Response:
    body = f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code></Error>'
    return Response(status, (("Content-Type", "application/xml"),), body.encode())
