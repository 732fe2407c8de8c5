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
_TELLING_FOLDED: Final = frozenset(key.casefold() for key in _TELLING)
"""Clients written in Go read a key in any case, and take the long s (U+017F) for an s."""

MANIFEST_ACCEPT: Final = ", ".join((*MANIFEST_TYPES, "*/*"))
"""Ask for every type: without the index types some registries pick one platform or answer 404."""


class AmbiguousManifestError(VregError):
    """The document is no manifest, or could be read as two kinds of manifest (CVE-2021-41190)."""


def is_media_type(text: object) -> bool:
    """Whether this is the name of a media type, without parameters."""
    return isinstance(text, str) and _GRAMMAR.fullmatch(text) is not None


def manifest_media_type(body: bytes, content_type: str | None) -> str:
    """Return the one media type of a manifest.

    It follows from the bytes alone, so one digest has one type wherever it comes from: the document's own
    `mediaType`, or else its shape. A header that names another manifest type is refused, and so is a document
    with both `layers` and `manifests`: two clients would read them differently.

    Raises AmbiguousManifestError.
    """
    document = _object(body)
    said = (content_type or "").partition(";")[0].strip().lower()
    declared = document.get("mediaType")
    if declared is not None and not isinstance(declared, str):
        raise AmbiguousManifestError("the manifest's mediaType is not text")
    if declared and not is_media_type(declared):  # it is to be sent on as a header
        raise AmbiguousManifestError("the manifest's mediaType is not a media type")
    if ("layers" in document or "config" in document or "fsLayers" in document) and "manifests" in document:
        raise AmbiguousManifestError("the document is both an image manifest and an index")
    media_type = declared or _by_shape(document)
    if said in MANIFEST_TYPES and media_type != said:
        raise AmbiguousManifestError("the Content-Type and the manifest's mediaType differ")
    if media_type in {OCI_INDEX, DOCKER_LIST} and "manifests" not in document:
        raise AmbiguousManifestError("the document calls itself an index and lists no manifests")
    if media_type in {OCI_MANIFEST, DOCKER_MANIFEST} and "manifests" in document:
        raise AmbiguousManifestError("the document calls itself an image manifest and lists manifests")
    return media_type


def _object(body: bytes) -> dict[str, object]:
    try:
        document = json.loads(body.decode("utf-8"), object_pairs_hook=_once_each)
    except (ValueError, RecursionError) as error:
        raise AmbiguousManifestError("the manifest is not JSON") from error
    if not isinstance(document, dict):
        raise AmbiguousManifestError("the manifest is not a JSON object")
    if any(key not in _TELLING and key.casefold() in _TELLING_FOLDED for key in document):
        raise AmbiguousManifestError("the manifest has a key that some clients read and others do not")
    return document


def _once_each(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Of two keys alike some readers take the first, others the last."""
    document = dict(pairs)
    if len(document) != len(pairs):
        raise AmbiguousManifestError("the manifest has a key twice")
    return document


def _by_shape(document: dict[str, object]) -> str:
    if "manifests" in document:
        return OCI_INDEX
    if "config" in document and "layers" in document:
        return OCI_MANIFEST
    raise AmbiguousManifestError("neither its mediaType nor its shape says which manifest this is")
