"""Where blobs come from: addresses on the registry's own host, or at Cloud Storage for the older gcr.io."""

import secrets

from tests.clouds.gcp.model import Repository
from tests.clouds.gcp.places import STORAGE
from tests.clouds.gcp.state import GcpState
from tests.clouds.ranges import read_range
from tests.clouds.shelf import whole
from tests.clouds.wire import FileSpan, Headers, Request, Response

_OCTETS = ("Content-Type", "application/octet-stream")


class Downloads:
    """An address is good for whoever has it, for a while; at Cloud Storage only without Authorization."""

    name = "storage"

    def __init__(self, state: GcpState) -> None:
        self._state = state
        self._given: dict[str, tuple[str, float]] = {}

    def location(self, repository: Repository, digest: str, *, is_apart: bool) -> str:
        """Return where a blob is to be fetched: relative to the registry's host unless it is kept apart."""
        path = (
            f"/artifacts-downloads/namespaces/{repository.project}/repositories/{repository.name}/downloads/"
            f"{secrets.token_urlsafe(700)}"
        )
        self._given[path] = (digest, self._state.clock.now() + self._state.download_seconds)
        return f"https://{STORAGE}{path}" if is_apart else path

    async def answer(self, request: Request) -> Response:
        """Serve as Cloud Storage."""
        if "authorization" in request.headers:
            return Response(
                400, (("Content-Type", "application/xml"),), b"<Error><Code>InvalidArgument</Code></Error>"
            )
        return self.serve(request)

    def serve(self, request: Request) -> Response:
        """Serve a blob by an address that was given out."""
        request.note.operation = "Download"
        digest, end = self._given.get(request.path, ("", 0.0))
        request.note.subject = digest
        if not digest or self._state.clock.now() >= end or request.method != "GET":
            return Response(403, (("Content-Type", "text/plain"),), b"Forbidden\n")
        size = self._state.content.size(digest)
        wanted = read_range(request.headers.get("range"), size) if self._state.has_ranges else None
        if wanted is None:
            return Response(200, (_OCTETS,), whole(self._state.content, digest))
        first, last = wanted
        if first >= size or last < first:
            return Response(416, (("Content-Range", f"bytes */{size}"),))
        headers: Headers = (_OCTETS, ("Content-Range", f"bytes {first}-{last}/{size}"))
        return Response(206, headers, FileSpan(self._state.content.path(digest), first, last - first + 1))

    def throttled(self, retry_after: int | None) -> Response:
        """Throttle."""
        return Response(429, () if retry_after is None else (("Retry-After", str(retry_after)),))

    def failed(self, status: int) -> Response:
        """Be unwell."""
        return Response(status)
