"""Artifact Registry on `/v2/`, under every one of its host names."""

import json
import re

from tests.clouds.gcp.gar_downloads import Downloads
from tests.clouds.gcp.gar_login import Admitted, GarLogin, denied
from tests.clouds.gcp.model import Repository
from tests.clouds.gcp.paths import Asked, read_path
from tests.clouds.gcp.places import Place, find_place
from tests.clouds.gcp.state import GcpState
from tests.clouds.oci_answers import VERSION, oci_error
from tests.clouds.shelf import Shelf, whole
from tests.clouds.wire import Headers, Request, Response

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_INDEX = "application/vnd.oci.image.index.v1+json"
_ROUTE = re.compile(r"/v2/(?P<name>.+)/(?P<what>manifests|blobs|tags|referrers)/(?P<reference>[^/]+)")
_DOWNLOADS = "/artifacts-downloads/"


class GarRegistry:
    """Whoever may not read is told so in words that fit a place that does not exist."""

    name = "gar"

    def __init__(self, state: GcpState, downloads: Downloads) -> None:
        self._state = state
        self._downloads = downloads
        self._login = GarLogin(state)

    async def answer(self, request: Request) -> Response:
        """Admit, then look for the permission, then for the thing."""
        place = find_place(request.host)
        assert place is not None
        request.note.region = place.location
        if request.path.startswith(_DOWNLOADS):
            return self._downloads.serve(request)
        if request.path == "/v2/token":
            return self._login.token(request, place)
        return self._registry(request, place)

    def throttled(self, retry_after: int | None) -> Response:
        """The registry throttles as the protocol says."""
        headers = () if retry_after is None else (("Retry-After", str(retry_after)),)
        words = "Quota exceeded for quota metric 'Requests per project per region' and limit"
        return oci_error(429, "TOOMANYREQUESTS", words, headers)

    def failed(self, status: int) -> Response:
        """Be unwell; what stands before the registry speaks no JSON."""
        return Response(status, (("Content-Type", "text/html"),), b"<html><title>Error</title></html>")

    def _registry(self, request: Request, place: Place) -> Response:
        route = _ROUTE.fullmatch(request.plain_path)
        asked = read_path(route["name"], place) if route is not None else None
        admitted = self._login.admit(request, place, asked)
        if isinstance(admitted, Response):
            return admitted
        request.note.principal = admitted.name
        if request.path in {"/v2/", "/v2"}:
            request.note.operation = "Ping"
            return Response(200, (VERSION, ("Content-Type", "application/json")), b"{}")
        if route is None:
            return Response(404, (("Content-Type", "text/plain"),), b"404 page not found\n")
        if asked is None:
            count = len(route["name"].split("/"))
            return oci_error(400, "NAME_INVALID", f"invalid number of path components: {count}")
        return self._read(request, admitted, asked, (route["what"], route["reference"]))

    def _read(self, request: Request, admitted: Admitted, asked: Asked, wanted: tuple[str, str]) -> Response:
        what, reference = wanted
        request.note.operation, request.note.subject = what, f"{asked.path}:{reference}"
        repository = self._state.model.repositories.get(asked.where)
        refused = self._refusal(admitted, asked, repository)
        if refused is not None:
            return refused
        assert repository is not None
        if request.method not in {"GET", "HEAD"}:
            return oci_error(405, "UNSUPPORTED", "The operation is unsupported.")
        shelf = repository.shelves[asked.image]
        if what == "manifests":
            return self._manifest(request, shelf, reference)
        if what == "blobs":
            return self._blob(request, repository, shelf, reference)
        return self._referrers(shelf, reference) if what == "referrers" else self._tags(shelf, asked)

    def _refusal(self, admitted: Admitted, asked: Asked, repository: Repository | None) -> Response | None:
        principal = admitted.principal
        if not admitted.has_scope:
            return oci_error(403, "DENIED", "Request had insufficient authentication scopes.")
        knows = self._state.model.reads_project(principal, asked.where[0])
        if repository is None:
            if knows and not self._state.missing_is_hidden:
                return oci_error(404, "NAME_UNKNOWN", f'Repository "{asked.where[2]}" not found')
            return denied(asked, principal)
        return None if knows or repository.permits(principal) else denied(asked, principal)

    def _manifest(self, request: Request, shelf: Shelf, reference: str) -> Response:
        found = shelf.manifest(reference, request.headers.get("accept"))
        if found is None:
            return oci_error(404, "MANIFEST_UNKNOWN", f'Failed to fetch "{reference}"')
        digest, media_type = found
        headers: Headers = (VERSION, ("Content-Type", media_type))
        if self._state.has_digest_on_manifests:
            headers = (*headers, ("Docker-Content-Digest", digest))
        return Response(200, headers, whole(self._state.content, digest))

    def _blob(self, request: Request, repository: Repository, shelf: Shelf, digest: str) -> Response:
        if _DIGEST.fullmatch(digest) is None:
            return oci_error(400, "DIGEST_INVALID", "invalid digest")
        if digest not in shelf.blobs:
            return oci_error(404, "BLOB_UNKNOWN", f'Failed to fetch "{digest}"')
        if request.method == "HEAD":
            kind = ("Content-Type", "application/octet-stream")
            return Response(200, (VERSION, kind), whole(self._state.content, digest))
        place = find_place(request.host)
        assert place is not None
        is_apart = bool(place.repository) and self._state.gcr_stores_apart
        location = self._downloads.location(repository, digest, is_apart=is_apart)
        return Response(302, (VERSION, ("Location", location)))

    def _tags(self, shelf: Shelf, asked: Asked) -> Response:
        """Return every tag there is, whatever was asked for, with maps that nobody else has."""
        manifest = {
            digest: {
                "imageSizeBytes": str(self._state.content.size(digest)),
                "layerId": "",
                "mediaType": media_type,
                "tag": [tag for tag, each in shelf.tags.items() if each == digest],
                "timeCreatedMs": "1767225600000",
                "timeUploadedMs": "1767225600000",
            }
            for digest, media_type in sorted(shelf.manifests.items())
        }
        document = {"child": [], "manifest": manifest, "name": asked.path, "tags": sorted(shelf.tags)}
        return Response.of_json(200, document, (VERSION,))

    def _referrers(self, shelf: Shelf, digest: str) -> Response:
        if not self._state.has_referrers:
            return Response(404, (("Content-Type", "text/plain"),), b"404 page not found\n")
        found = []
        for known, media_type in shelf.manifests.items():
            document = json.loads(self._state.content.read(known))
            if document.get("subject", {}).get("digest") == digest:
                size = self._state.content.size(known)
                found.append({"mediaType": media_type, "digest": known, "size": size})
        headers: Headers = (VERSION, ("Content-Type", _INDEX))
        return Response.of_json(200, {"schemaVersion": 2, "mediaType": _INDEX, "manifests": found}, headers)
