"""Media types of manifests, and the refusal of documents that could be read as two things."""

import json
import re
from typing import Final

from vreg_shared.errors import VregError

OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
DOCKER_LIST: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
OCTET_STREAM: Final = "application/octet-stream"
MANIFEST_TYPES: Final = (OCI_INDEX, DOCKER_LIST, OCI_MANIFEST, DOCKER_MANIFEST)
MAX_MANIFEST_BYTES: Final = 4 * 1024 * 1024
_GRAMMAR: Final = re.compile(r"[A-Za-z0-9][\w!#$&^.+-]{0,126}/[A-Za-z0-9][\w!#$&^.+-]{0,126}", re.ASCII)
"""RFC 6838 section 4.2."""

_TELLING: Final = frozenset({"mediaType", "manifests", "layers", "config", "fsLayers"})
_TELLING_LOWERED: Final = frozenset(key.lower() for key in _TELLING)
"""Clients written in Go read a key in any case."""

MANIFEST_ACCEPT: Final = ", ".join((*MANIFEST_TYPES, "*/*"))
"""Ask for every type: without the index types some registries pick one platform or answer 404."""


class AmbiguousManifestError(VregError):
    """The document is no manifest, or could be read as two kinds of manifest (CVE-2021-41190)."""


def manifest_media_type(body: bytes, content_type: str | None) -> str:
    """Return the one media type of a manifest.

    The document's own `mediaType` wins and must agree with the header when both are manifest types;
    a document with both `layers` and `manifests` is refused, because two clients would read it differently.
    Raises AmbiguousManifestError.
    """
    document = _object(body)
    said = (content_type or "").partition(";")[0].strip().lower()
    declared = document.get("mediaType")
    if declared is not None and not isinstance(declared, str):
        raise AmbiguousManifestError("the manifest's mediaType is not text")
    if declared and _GRAMMAR.fullmatch(declared) is None:  # it is to be sent on as a header
        raise AmbiguousManifestError("the manifest's mediaType is not a media type")
    if ("layers" in document or "config" in document or "fsLayers" in document) and "manifests" in document:
        raise AmbiguousManifestError("the document is both an image manifest and an index")
    if declared and said in MANIFEST_TYPES and declared != said:
        raise AmbiguousManifestError("the Content-Type and the manifest's mediaType differ")
    media_type = declared or (said if said in MANIFEST_TYPES else _by_shape(document))
    if media_type in {OCI_INDEX, DOCKER_LIST} and "manifests" not in document:
        raise AmbiguousManifestError("the document calls itself an index and lists no manifests")
    if media_type in {OCI_MANIFEST, DOCKER_MANIFEST} and "manifests" in document:
        raise AmbiguousManifestError("the document calls itself an image manifest and lists manifests")
    return media_type


def _object(body: bytes) -> dict[str, object]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise AmbiguousManifestError("the manifest is not JSON") from error
    if not isinstance(document, dict):
        raise AmbiguousManifestError("the manifest is not a JSON object")
    if any(key not in _TELLING and key.lower() in _TELLING_LOWERED for key in document):
        raise AmbiguousManifestError("the manifest has a key that some clients read and others do not")
    return document


def _by_shape(document: dict[str, object]) -> str:
    if "manifests" in document:
        return OCI_INDEX
    if "config" in document and "layers" in document:
        return OCI_MANIFEST
    raise AmbiguousManifestError("neither the header nor the document says which manifest this is")
