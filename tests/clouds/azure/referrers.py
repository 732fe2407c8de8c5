"""The registry's list of what refers to a manifest."""

import json

from tests.clouds.content import ContentStore
from tests.clouds.shelf import Shelf
from tests.clouds.wire import Headers, Request, Response

_INDEX = "application/vnd.oci.image.index.v1+json"


def referrers(
    request: Request, shelf: Shelf, digest: str, content: ContentStore, headers: Headers
) -> Response:
    """Return the manifests whose subject is `digest`; none is an empty index."""
    wanted, found = request.parameter("artifactType"), []
    for known, media_type in shelf.manifests.items():
        document = json.loads(content.read(known))
        if document.get("subject", {}).get("digest") != digest:
            continue
        kind = document.get("artifactType") or document.get("config", {}).get("mediaType")
        found.append(
            {"mediaType": media_type, "digest": known, "size": content.size(known), "artifactType": kind}
        )
    headers = (*headers, ("Content-Type", _INDEX))
    if wanted is not None:
        found = [each for each in found if each["artifactType"] == wanted]
        headers = (*headers, ("OCI-Filters-Applied", "artifactType"))
    return Response.of_json(200, {"schemaVersion": 2, "mediaType": _INDEX, "manifests": found}, headers)
