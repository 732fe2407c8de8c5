"""The private ECR registry on `/v2/`, with the answers that are its own and nobody else's."""

import re

from tests.clouds.aws.ecr_listing import Listing
from tests.clouds.aws.ecr_login import Admitted, admit
from tests.clouds.aws.layer_bucket import LayerBucket
from tests.clouds.aws.model import Repository
from tests.clouds.aws.places import Place, find_place
from tests.clouds.aws.state import AwsState
from tests.clouds.oci_answers import VERSION, oci_error
from tests.clouds.shelf import whole
from tests.clouds.wire import Request, Response

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME = re.compile(rf"(?=.{{2,256}}\Z){_COMPONENT}(?:/{_COMPONENT})*")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_ROUTES = tuple(
    (re.compile(pattern), what)
    for pattern, what in (
        (r"/v2/(?P<name>.+)/manifests/(?P<reference>[^/]+)", "manifest"),
        (r"/v2/(?P<name>.+)/blobs/(?P<reference>[^/]+)", "blob"),
        (r"/v2/(?P<name>.+)/tags/(?P<reference>list)", "tags"),
        (r"/v2/(?P<name>.+)/referrers/(?P<reference>[^/]+)", "referrers"),
    )
)
# API call names are what IAM's permissions are called.
_OPERATIONS = {
    ("manifest", "GET"): "BatchGetImage",
    ("manifest", "HEAD"): "BatchGetImage",
    ("blob", "GET"): "GetDownloadUrlForLayer",
    ("blob", "HEAD"): "BatchCheckLayerAvailability",
    ("tags", "GET"): "ListImages",
    ("referrers", "GET"): "BatchGetImage",
}


class EcrRegistry:
    """Answers for every account and region; a token is good for its region, IAM decides the rest."""

    name = "ecr"

    def __init__(self, state: AwsState, bucket: LayerBucket) -> None:
        self._state = state
        self._bucket = bucket
        self._listing = Listing(state)

    async def answer(self, request: Request) -> Response:
        """Admit, then ask IAM, then look: what may not be read does not say whether it exists."""
        place = find_place(request.host)
        assert place is not None
        request.note.region = place.region
        admitted = admit(request, place, self._state)
        if isinstance(admitted, Response):
            return admitted
        request.note.principal = admitted.principal.arn
        if request.path in {"/v2/", "/v2"}:
            request.note.operation = "Ping"
            return Response(200, (VERSION, ("Content-Type", "text/plain; charset=utf-8")))
        if request.path == "/v2/_catalog":
            return self._listing.catalog(request, place, admitted.principal)
        return self._route(request, place, admitted)

    def throttled(self, retry_after: int | None) -> Response:
        """ECR's registry throttles as the protocol says."""
        headers = () if retry_after is None else (("Retry-After", str(retry_after)),)
        return oci_error(429, "TOOMANYREQUESTS", "Rate exceeded", headers)

    def failed(self, status: int) -> Response:
        """Be unwell; the load balancer before the registry speaks no JSON."""
        return Response(status, (("Content-Type", "text/html"),), b"<html><body>Server Error</body></html>")

    def _route(self, request: Request, place: Place, admitted: Admitted) -> Response:
        for pattern, what in _ROUTES:
            match = pattern.fullmatch(request.plain_path)
            if match is None:
                continue
            operation = _OPERATIONS.get((what, request.method))
            if operation is None:
                return oci_error(405, "UNSUPPORTED", "The operation is unsupported.")
            request.note.operation = operation
            request.note.subject = f"{match['name']}:{match['reference']}"
            return self._read(request, place, admitted, what, (match["name"], match["reference"]))
        return Response(404, (("Content-Type", "text/plain; charset=utf-8"),), b"404 page not found\n")

    def _read(
        self, request: Request, place: Place, admitted: Admitted, what: str, asked: tuple[str, str]
    ) -> Response:
        name, reference = asked
        refused = _bad_name(name) or self._iam(request, place, admitted, name)
        if refused is not None:
            return refused
        repository = self._state.model.repositories.get((place.account, place.region, name))
        if repository is None:
            return _unknown_name(name, place)
        if what == "manifest":
            return self._manifest(request, repository, reference)
        if what == "blob":
            return self._blob(request, place, repository, reference)
        if what == "referrers":
            return self._listing.referrers(request, repository, reference)
        return self._listing.tags(request, repository)

    def _iam(self, request: Request, place: Place, admitted: Admitted, name: str) -> Response | None:
        resource = f"arn:{place.partition}:ecr:{place.region}:{place.account}:repository/{name}"
        principal = admitted.principal
        repository = self._state.model.repositories.get((place.account, place.region, name))
        is_home = principal.account == place.account
        is_allowed_there = None if is_home else repository is not None and repository.allows(principal)
        why = self._state.model.refusal(
            principal, f"ecr:{request.note.operation}", resource, is_allowed_there=is_allowed_there
        )
        return None if why is None else oci_error(403, "DENIED", why)

    def _manifest(self, request: Request, repository: Repository, reference: str) -> Response:
        found = repository.shelf.manifest(reference, request.headers.get("accept"))
        if found is None:
            return oci_error(404, "MANIFEST_UNKNOWN", "Requested image not found")
        digest, media_type = found
        headers = [VERSION, ("Content-Type", media_type)]
        if request.method == "GET" or self._state.has_digest_on_head:
            headers.append(("Docker-Content-Digest", digest))
        return Response(200, tuple(headers), whole(self._state.content, digest))

    def _blob(self, request: Request, place: Place, repository: Repository, digest: str) -> Response:
        if _DIGEST.fullmatch(digest) is None:
            return oci_error(400, "DIGEST_INVALID", "Invalid parameter at 'LayerDigest'")
        if digest not in repository.shelf.blobs:
            return oci_error(404, "BLOB_UNKNOWN", "blob unknown to registry")
        if request.method == "HEAD":
            headers = (
                VERSION,
                ("Content-Type", "application/octet-stream"),
                ("Docker-Content-Digest", digest),
            )
            return Response(200, headers, whole(self._state.content, digest))
        location = self._bucket.presign(place.storage_host, repository, digest)
        return Response(307, (VERSION, ("Location", location)))


def _bad_name(name: str) -> Response | None:
    if _NAME.fullmatch(name) is not None:
        return None
    return oci_error(
        400,
        "NAME_INVALID",
        "Invalid parameter at 'repositoryName' failed to satisfy constraint: 'must satisfy regular "
        "expression '(?:[a-z0-9]+(?:[._-][a-z0-9]+)*/)*[a-z0-9]+(?:[._-][a-z0-9]+)*''",
    )


def _unknown_name(name: str, place: Place) -> Response:
    return oci_error(
        404,
        "NAME_UNKNOWN",
        f"The repository with name '{name}' does not exist in the registry with id '{place.account}'",
    )
