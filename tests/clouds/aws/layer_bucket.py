"""Where layers lie: an object store that knows no credentials but the one in the address, and no HEAD."""

import hashlib
import hmac
import secrets
from datetime import UTC, datetime
from email.utils import formatdate
from urllib.parse import quote
from uuid import NAMESPACE_OID, uuid5
from xml.sax.saxutils import escape

from tests.clouds.aws.model import Repository
from tests.clouds.aws.places import find_place
from tests.clouds.aws.state import AwsState
from tests.clouds.ranges import read_range
from tests.clouds.wire import FileSpan, Headers, Request, Response

_SIGNATURE = "&X-Amz-Signature="
_MODIFIED = formatdate(1_700_000_000, usegmt=True)


class LayerBucket:
    """The signature covers GET, the host, and the path and query byte for byte."""

    name = "s3"

    def __init__(self, state: AwsState) -> None:
        self._state = state
        self._key = secrets.token_bytes(32)
        self._objects: dict[str, str] = {}

    def path_of(self, repository: Repository, digest: str) -> str:
        """Return the path of a repository's blob; it does not tell the digest."""
        owner = uuid5(NAMESPACE_OID, f"{repository.account}/{repository.region}/{repository.name}")
        path = f"/{owner.hex[:6]}-{repository.account}-{owner}/{uuid5(owner, digest)}"
        self._objects[path] = digest
        return path

    def presign(self, host: str, repository: Repository, digest: str) -> str:
        """Return an address that is good for one GET of this blob, for a while."""
        path, now = self.path_of(repository, digest), self._state.clock.now()
        moment = datetime.fromtimestamp(now, UTC)
        key_id, token = "ASIA" + secrets.token_hex(8).upper(), secrets.token_bytes(300).hex()
        credential = f"{key_id}/{moment:%Y%m%d}/{repository.region}/s3/aws4_request"
        # Seconds to a thousandth: a life below one second is of use to tests.
        query = (
            f"X-Amz-Security-Token={quote(f'IQoJ/{token}/+w==', safe='')}&X-Amz-Algorithm=AWS4-HMAC-SHA256"
            f"&X-Amz-Date={moment:%Y%m%dT%H%M%SZ}&X-Amz-SignedHeaders=host"
            f"&X-Amz-Expires={round(self._state.storage_url_seconds)}"
            f"&X-Amz-Credential={quote(credential, safe='')}"
            f"&x-amz-meta-end={now + self._state.storage_url_seconds:.3f}"
        )
        return f"https://{host}{path}?{query}{_SIGNATURE}{self._sign(host, path, query)}"

    async def answer(self, request: Request) -> Response:
        """Serve a signed GET, also of a range."""
        place = find_place(request.host)
        assert place is not None
        request.note.region, request.note.operation = place.region, "GetObject"
        digest = self._objects.get(request.path)
        request.note.subject = digest or ""
        refused = self._refusal(request)
        if refused is not None:
            return refused
        if digest is None or not self._state.content.path(digest).exists():
            return _error(404, "NoSuchKey", "The specified key does not exist.")
        return self._serve(request, digest)

    def throttled(self, retry_after: int | None) -> Response:
        """S3 asks to slow down."""
        headers = () if retry_after is None else (("Retry-After", str(retry_after)),)
        return _error(503, "SlowDown", "Please reduce your request rate.", headers)

    def failed(self, status: int) -> Response:
        """Be unwell."""
        return _error(status, "InternalError", "We encountered an internal error. Please try again.")

    def _refusal(self, request: Request) -> Response | None:
        if "authorization" in request.headers:
            return _error(
                400,
                "InvalidArgument",
                "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query "
                "string parameter or the Authorization header should be specified",
            )
        query, found, signature = request.query.rpartition(_SIGNATURE)
        if not found:
            return _error(403, "AccessDenied", "Access Denied")
        expected = self._sign(request.host, request.path, query)
        if request.method != "GET" or not hmac.compare_digest(signature, expected):
            return _error(
                403,
                "SignatureDoesNotMatch",
                "The request signature we calculated does not match the signature you provided. "
                "Check your key and signing method.",
            )
        if self._state.clock.now() >= float(query.rpartition("=")[2]):
            return _error(403, "AccessDenied", "Request has expired")
        return None

    def _serve(self, request: Request, digest: str) -> Response:
        size = self._state.content.size(digest)
        headers: Headers = (
            ("x-amz-request-id", secrets.token_hex(8).upper()),
            ("Last-Modified", _MODIFIED),
            ("ETag", f'"{hashlib.md5(digest.encode(), usedforsecurity=False).hexdigest()}"'),
            ("Accept-Ranges", "bytes"),
            ("Content-Type", "application/octet-stream"),
            ("Server", "AmazonS3"),
        )
        path, wanted = self._state.content.path(digest), read_range(request.headers.get("range"), size)
        if wanted is None:
            return Response(200, headers, FileSpan(path, 0, size))
        first, last = wanted
        if first >= size or last < first:
            return _error(
                416,
                "InvalidRange",
                "The requested range is not satisfiable",
                (("Content-Range", f"bytes */{size}"),),
            )
        span = ("Content-Range", f"bytes {first}-{last}/{size}")
        return Response(206, (*headers, span), FileSpan(path, first, last - first + 1))

    def _sign(self, host: str, path: str, query: str) -> str:
        return hmac.digest(self._key, f"GET\n{host}\n{path}\n{query}".encode("latin-1"), "sha256").hex()


def _error(status: int, code: str, message: str, headers: Headers = ()) -> Response:
    body = (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code>'
        f"<Message>{escape(message)}</Message><RequestId>{secrets.token_hex(8).upper()}</RequestId></Error>"
    )
    return Response(status, (("Content-Type", "application/xml"), *headers), body.encode())
