"""Where ECR Public's blobs lie: CloudFront, by signed addresses. That it is so is assumed, not documented."""

import hmac
import secrets
from xml.sax.saxutils import escape

from tests.clouds.aws.state import AwsState
from tests.clouds.ranges import read_range
from tests.clouds.shelf import whole
from tests.clouds.wire import FileSpan, Request, Response


class PublicCdn:
    """The signature is in the query; a credential on top of it is refused."""

    name = "cloudfront"

    def __init__(self, state: AwsState) -> None:
        self._state = state
        self._key = secrets.token_bytes(32)

    def presign(self, host: str, digest: str) -> str:
        """Return an address that is good for this blob, for a while."""
        path = f"/docker/registry/v2/blobs/{digest.replace(':', '/')}/data"
        ends = f"{self._state.clock.now() + self._state.storage_url_seconds:.3f}"
        signature = self._sign(host, path, ends)
        return f"https://{host}{path}?Expires={ends}&Signature={signature}&Key-Pair-Id=KEXAMPLE"

    async def answer(self, request: Request) -> Response:
        """Serve what a signed address names, also a range of it."""
        request.note.operation = "GetObject"
        if "authorization" in request.headers:
            return _error(400, "InvalidArgument", "Only one auth mechanism allowed")
        ends, signature = request.parameter("Expires") or "0", request.parameter("Signature") or ""
        if not hmac.compare_digest(signature, self._sign(request.host, request.path, ends)):
            return _error(403, "AccessDenied", "Access denied")
        if request.method not in {"GET", "HEAD"} or self._state.clock.now() >= float(ends):
            return _error(403, "AccessDenied", "Access denied")
        digest = ":".join(request.path.split("/")[-3:-1])
        request.note.subject = digest
        return self._serve(request, digest)

    def throttled(self, retry_after: int | None) -> Response:
        """Ask to slow down."""
        del retry_after
        return _error(503, "SlowDown", "Please reduce your request rate.")

    def failed(self, status: int) -> Response:
        """Be unwell."""
        return Response(status, (("Content-Type", "text/html"),), b"<html>The request failed</html>")

    def _serve(self, request: Request, digest: str) -> Response:
        headers = (("Content-Type", "application/octet-stream"), ("Accept-Ranges", "bytes"))
        span = whole(self._state.content, digest)
        wanted = read_range(request.headers.get("range"), span.length)
        if wanted is None:
            return Response(200, headers, span)
        first, last = wanted
        if first >= span.length or last < first:
            return _error(416, "InvalidRange", "The requested range is not satisfiable")
        told = ("Content-Range", f"bytes {first}-{last}/{span.length}")
        return Response(206, (*headers, told), FileSpan(span.path, first, last - first + 1))

    def _sign(self, host: str, path: str, ends: str) -> str:
        return hmac.digest(self._key, f"{host}\n{path}\n{ends}".encode("latin-1"), "sha256").hex()


def _error(status: int, code: str, message: str) -> Response:
    body = f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>{escape(message)}</Message></Error>'
    return Response(status, (("Content-Type", "text/xml"),), body.encode())
