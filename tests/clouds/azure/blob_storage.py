"""Where blobs lie: the only credential is in the address, whose path has a double slash."""

import hmac
import secrets
from datetime import UTC, datetime
from email.utils import formatdate
from uuid import uuid4

from tests.clouds.azure.model import Registry
from tests.clouds.azure.state import AzureState
from tests.clouds.ranges import read_range
from tests.clouds.wire import FileSpan, Headers, Request, Response

_MODIFIED = formatdate(1_700_000_000, usegmt=True)
_SIGNATURE = "&sig="


class BlobStorage:
    """The signature covers the host, the path byte for byte, and the query before it."""

    name = "azure-storage"

    def __init__(self, state: AzureState) -> None:
        self._state = state
        self._key = secrets.token_bytes(32)

    @staticmethod
    def path_of(registry: Registry, digest: str) -> str:
        """Return the path of a blob."""
        algorithm, _, name = digest.partition(":")
        return f"/{registry.regid}//docker/registry/v2/blobs/{algorithm}/{name[:2]}/{name}/data"

    def presign(self, registry: Registry, digest: str) -> str:
        """Return an address that is good for reading this blob, for a while."""
        host, path = registry.storage_host, self.path_of(registry, digest)
        ends = self._state.clock.now() + self._state.storage_url_seconds
        moment = datetime.fromtimestamp(ends, UTC)
        # Seconds to a thousandth: a life below one second is of use to tests.
        query = f"se={moment:%Y-%m-%dT%H%%3A%M%%3A%SZ}&sp=r&spr=https&sr=b&sv=2018-03-28"
        query += f"&regid={registry.regid}&end={ends:.3f}"
        return f"https://{host}{path}?{query}{_SIGNATURE}{self._sign(host, path, query)}"

    async def answer(self, request: Request) -> Response:
        """Serve a signed read, also of a range."""
        request.note.operation = "GetBlob"
        refused = self._refusal(request)
        if refused is not None:
            return refused
        digest = f"sha256:{request.path.split('/')[-2]}"
        request.note.subject = digest
        if not self._state.content.path(digest).exists():
            return _error(404, "BlobNotFound", "The specified blob does not exist.")
        return self._serve(request, digest)

    def throttled(self, retry_after: int | None) -> Response:
        """Storage says that it is busy."""
        wait = () if retry_after is None else (("Retry-After", str(retry_after)),)
        return _error(503, "ServerBusy", "The server is busy.", wait)

    def failed(self, status: int) -> Response:
        """Be unwell."""
        return _error(status, "InternalError", "The server encountered an internal error.")

    def _refusal(self, request: Request) -> Response | None:
        if "authorization" in request.headers:
            words = (
                "Authentication information is not given in the correct format. Check the value of "
                "Authorization header."
            )
            return _error(400, "InvalidAuthenticationInfo", words)
        query, found, signature = request.query.rpartition(_SIGNATURE)
        expected = self._sign(request.host, request.path, query)
        if not found or request.method not in {"GET", "HEAD"} or not hmac.compare_digest(signature, expected):
            words = "Server failed to authenticate the request. Make sure the signature is formed correctly."
            return _error(403, "AuthenticationFailed", words)
        if self._state.clock.now() >= float(query.rpartition("=")[2]):
            return _error(403, "AuthenticationFailed", "Signature not valid in the specified time frame")
        return None

    def _serve(self, request: Request, digest: str) -> Response:
        size, path = self._state.content.size(digest), self._state.content.path(digest)
        headers: Headers = (
            ("Content-Type", "application/octet-stream"),
            ("Last-Modified", _MODIFIED),
            ("Accept-Ranges", "bytes"),
            ("ETag", f'"0x{digest[7:22].upper()}"'),
            ("Server", "Windows-Azure-Blob/1.0 Microsoft-HTTPAPI/2.0"),
            ("x-ms-request-id", str(uuid4())),
        )
        wanted = read_range(request.headers.get("range"), size)
        if wanted is None:
            return Response(200, headers, FileSpan(path, 0, size))
        first, last = wanted
        if first >= size or last < first:
            span = ("Content-Range", f"bytes */{size}")
            return _error(416, "InvalidRange", "The range specified is invalid.", (span,))
        span = ("Content-Range", f"bytes {first}-{last}/{size}")
        return Response(206, (*headers, span), FileSpan(path, first, last - first + 1))

    def _sign(self, host: str, path: str, query: str) -> str:
        return hmac.digest(self._key, f"{host}\n{path}\n{query}".encode("latin-1"), "sha256").hex()


def _error(status: int, code: str, message: str, headers: Headers = ()) -> Response:
    head = '<?xml version="1.0" encoding="utf-8"?>'
    body = f"{head}<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    kinds: Headers = (("Content-Type", "application/xml"), ("x-ms-error-code", code))
    return Response(status, (*kinds, *headers), body.encode())
