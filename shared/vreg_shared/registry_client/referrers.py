"""What refers to a manifest: signatures, attestations, and whatever else names it as its subject.

Source: https://github.com/opencontainers/distribution-spec/blob/main/spec.md#listing-referrers
"""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import aiohttp

from vreg_shared.oci.digest import Digest, InvalidDigestError
from vreg_shared.oci.media_types import OCI_INDEX, is_media_type
from vreg_shared.oci.reference import Tag
from vreg_shared.registry_client.results import Referrer
from vreg_shared.registry_client.transport import unavailable

NOT_OFFERED: Final = frozenset(
    {
        HTTPStatus.NOT_FOUND,
        HTTPStatus.METHOD_NOT_ALLOWED,  # ECR's word for what it does not have
        HTTPStatus.NOT_ACCEPTABLE,
        HTTPStatus.NOT_IMPLEMENTED,
    }
)
"""How registries say that they have no referrers API."""
_ALGORITHM_LENGTH: Final = 32
_HEX_LENGTH: Final = 64


def fallback_tag(subject: Digest) -> Tag:
    """Return the tag under which clients keep the list where a registry keeps none; cut as specified."""
    return Tag.parse(f"{subject.algorithm[:_ALGORITHM_LENGTH]}-{subject.hex[:_HEX_LENGTH]}")


def offers_referrers(response: aiohttp.ClientResponse) -> bool:
    """Whether the answer comes from a referrers API: a page for people may answer 200 to any path."""
    said = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    return response.status == HTTPStatus.OK and said == OCI_INDEX


def referrers_of(body: bytes) -> tuple[Referrer, ...]:
    """Return what an index lists.

    One entry that cannot be read spoils all: a signature left out would look like one never made. Raises
    RequestFailedError.
    """
    try:
        document = json.loads(body)
        return tuple(_referrer(entry) for entry in document["manifests"] or [])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, InvalidDigestError) as error:
        raise unavailable("bad_answer", "the list of referrers is not one") from error


def _referrer(entry: Mapping[str, Any]) -> Referrer:
    size, artifact_type, annotations = entry["size"], entry.get("artifactType"), entry.get("annotations")
    if type(size) is not int or size < 0:
        raise ValueError("the size is not one")
    if not is_media_type(entry["mediaType"]) or (artifact_type and not is_media_type(artifact_type)):
        raise ValueError("the type is not one")
    pairs = tuple((annotations or {}).items())
    if not all(isinstance(value, str) for _, value in pairs):
        raise ValueError("the annotations are not text")
    return Referrer(Digest.parse(entry["digest"]), entry["mediaType"], size, artifact_type or None, pairs)
