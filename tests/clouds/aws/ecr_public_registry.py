"""ECR Public on `/v2/`: everybody may read everything, by token; blobs lie behind a CDN."""

import re

from tests.clouds.aws.ecr_public_login import admit, issue
from tests.clouds.aws.places import find_place
from tests.clouds.aws.public_cdn import PublicCdn
from tests.clouds.aws.state import AwsState
from tests.clouds.oci_answers import VERSION, oci_error
from tests.clouds.shelf import Shelf, whole
from tests.clouds.wire import Request, Response

_ROUTE = re.compile(r"/v2/(?P<name>.+)/(?P<what>manifests|blobs|tags)/(?P<reference>[^/]+)")


class EcrPublicRegistry:
    """Answers under both of its names, each with a token endpoint of its own."""

    name = "ecr-public"

    def __init__(self, state: AwsState, cdn: PublicCdn) -> None:
        self._state = state
        self._cdn = cdn

    async def answer(self, request: Request) -> Response:
        """Admit, then look: an unknown name is simply not there."""
        request.note.region = "us-east-1"
        if request.path == "/token/":
            return issue(request, self._state)
        admitted = admit(request, self._state)
        if isinstance(admitted, Response):
            return admitted
        request.note.principal = admitted.arn
        if request.path in {"/v2/", "/v2"}:
            request.note.operation = "Ping"
            return Response.of_json(200, {}, (VERSION,))
        match = _ROUTE.fullmatch(request.plain_path)
        if match is None or request.method not in {"GET", "HEAD"}:
            return Response(404, (("Content-Type", "text/plain; charset=utf-8"),), b"404 page not found\n")
        request.note.operation = f"{request.method} {match['what']}"
        request.note.subject = f"{match['name']}:{match['reference']}"
        return self._read(request, match["name"], match["what"], match["reference"])

    def throttled(self, retry_after: int | None) -> Response:
        """Throttle as it does, one pull a second without and ten with an identity."""
        headers = () if retry_after is None else (("Retry-After", str(retry_after)),)
        return oci_error(429, "TOOMANYREQUESTS", "toomanyrequests: Rate exceeded", headers)

    def failed(self, status: int) -> Response:
        """Be unwell; the load balancer before the registry speaks no JSON."""
        return Response(status, (("Content-Type", "text/html"),), b"<html><body>Server Error</body></html>")

    def _read(self, request: Request, name: str, what: str, reference: str) -> Response:
        shelf = self._state.public_repositories.get(name)
        if shelf is None:
            message = f"The repository with name '{name}' does not exist in the registry"
            return oci_error(404, "NAME_UNKNOWN", message)
        if what == "manifests":
            return self._manifest(request, shelf, reference)
        if what == "blobs":
            return self._blob(request, shelf, reference)
        kind = ("Content-Type", "text/plain; charset=utf-8")
        return Response.of_json(200, {"name": name, "tags": sorted(shelf.tags)}, (VERSION, kind))

    def _manifest(self, request: Request, shelf: Shelf, reference: str) -> Response:
        found = shelf.manifest(reference, request.headers.get("accept"))
        if found is None:
            return oci_error(404, "MANIFEST_UNKNOWN", "Requested image not found")
        digest, media_type = found
        headers = [VERSION, ("Content-Type", media_type)]
        if request.method == "GET" or self._state.has_digest_on_head:
            headers.append(("Docker-Content-Digest", digest))
        return Response(200, tuple(headers), whole(self._state.content, digest))

    def _blob(self, request: Request, shelf: Shelf, digest: str) -> Response:
        if digest not in shelf.blobs:
            return oci_error(404, "BLOB_UNKNOWN", "blob unknown to registry")
        if request.method == "HEAD":
            kind = ("Content-Type", "application/octet-stream")
            told = (VERSION, kind, ("Docker-Content-Digest", digest))
            return Response(200, told, whole(self._state.content, digest))
        place = find_place(request.host)
        assert place is not None
        return Response(307, (VERSION, ("Location", self._cdn.presign(place.storage_host, digest))))
