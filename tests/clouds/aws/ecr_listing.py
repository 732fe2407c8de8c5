"""ECR's lists: opaque cursors, absolute links, limits that answer 405, and referrers."""

import base64
import hashlib
import hmac
import json
import secrets
from urllib.parse import quote

from tests.clouds.aws.model import Principal, Repository
from tests.clouds.aws.places import Place
from tests.clouds.aws.state import AwsState
from tests.clouds.oci_answers import VERSION, oci_error
from tests.clouds.wire import Headers, Request, Response

_DEFAULT_PAGE = 100
_MAX_PAGE = 1000
_INDEX = "application/vnd.oci.image.index.v1+json"


class Listing:
    """A cursor is good for the list it came from, and says nothing to anybody else."""

    def __init__(self, state: AwsState) -> None:
        self._state = state
        self._key = secrets.token_bytes(32)

    def tags(self, request: Request, repository: Repository) -> Response:
        """Answer tags/list: in no order a client could know, as text/plain."""
        tags = sorted(repository.shelf.tags, key=lambda tag: hashlib.sha256(tag.encode()).digest())
        return self._page(request, "tags", tags, {"name": repository.name})

    def catalog(self, request: Request, place: Place, principal: Principal) -> Response:
        """Answer _catalog, which is of the whole account."""
        request.note.operation = "DescribeRepositories"
        resource = f"arn:{place.partition}:ecr:{place.region}:{place.account}:repository/*"
        is_allowed_there = None if principal.account == place.account else False
        why = self._state.model.refusal(
            principal, "ecr:DescribeRepositories", resource, is_allowed_there=is_allowed_there
        )
        if why is not None:
            return oci_error(403, "DENIED", why)
        here = (place.account, place.region)
        names = [
            name for account, region, name in self._state.model.repositories if (account, region) == here
        ]
        return self._page(request, "repositories", sorted(names), {})

    def referrers(self, request: Request, repository: Repository, digest: str) -> Response:
        """Answer with the manifests whose subject is `digest`; none is an empty index."""
        wanted = request.parameter("artifactType")
        found = []
        for known, media_type in repository.shelf.manifests.items():
            document = json.loads(self._state.content.read(known))
            if document.get("subject", {}).get("digest") == digest:
                found.append(_descriptor(known, media_type, document, self._state.content.size(known)))
        headers: Headers = (VERSION, ("Content-Type", _INDEX))
        if wanted is not None:
            found = [each for each in found if each.get("artifactType") == wanted]
            headers = (*headers, ("OCI-Filters-Applied", "artifactType"))
        return Response.of_json(200, {"schemaVersion": 2, "mediaType": _INDEX, "manifests": found}, headers)

    def _page(self, request: Request, key: str, names: list[str], document: dict[str, object]) -> Response:
        size = _page_size(request.parameter("n"))
        if isinstance(size, Response):
            return size
        start = self._position(request.path, request.parameter("last"))
        if start is None:
            return oci_error(
                405, "UNSUPPORTED", "Invalid parameter at 'NextToken' failed to satisfy constraint"
            )
        headers: Headers = (VERSION, ("Content-Type", "text/plain; charset=utf-8"))
        if start + size < len(names):
            last = quote(self._cursor(request.path, start + size), safe="")
            kept = f"&n={size}" if request.parameter("n") is not None else ""
            link = f'<https://{request.host}{request.path}?last={last}{kept}>; rel="next"'
            headers = (*headers, ("Link", link))
        return Response.of_json(200, {**document, key: names[start : start + size]}, headers)

    def _cursor(self, path: str, position: int) -> str:
        inner = f"{position}:".encode() + secrets.token_bytes(300)
        return base64.b64encode(self._mac(path, inner) + inner).decode()

    def _position(self, path: str, cursor: str | None) -> int | None:
        if cursor is None:
            return 0
        try:
            raw = base64.b64decode(cursor, validate=True)
        except ValueError:
            return None
        if not hmac.compare_digest(raw[:32], self._mac(path, raw[32:])):
            return None
        return int(raw[32:].partition(b":")[0])

    def _mac(self, path: str, inner: bytes) -> bytes:
        return hmac.digest(self._key, path.encode() + b"\n" + inner, "sha256")


def _page_size(text: str | None) -> int | Response:
    if text is None:
        return _DEFAULT_PAGE
    limit = None
    if not text.isdecimal() or int(text) < 1:
        limit = "greater than or equal to 1"
    elif int(text) > _MAX_PAGE:
        limit = f"less than or equal to {_MAX_PAGE}"
    if limit is None:
        return int(text)
    return oci_error(
        405,
        "UNSUPPORTED",
        f"Invalid parameter at 'maxResults' failed to satisfy constraint: 'Member must have value {limit}'",
    )


def _descriptor(digest: str, media_type: str, document: dict[str, object], size: int) -> dict[str, object]:
    found: dict[str, object] = {"mediaType": media_type, "digest": digest, "size": size}
    artifact_type = document.get("artifactType")
    if artifact_type is None and isinstance(config := document.get("config"), dict):
        artifact_type = config.get("mediaType")
    if artifact_type is not None:
        found["artifactType"] = artifact_type
    if (annotations := document.get("annotations")) is not None:
        found["annotations"] = annotations
    return found
