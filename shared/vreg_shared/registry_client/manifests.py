"""Manifests as answers: read whole, hashed by us, and of one type."""

import asyncio
from typing import Final

import aiohttp

from vreg_shared.oci.digest import Digest, InvalidDigestError
from vreg_shared.oci.media_types import MAX_MANIFEST_BYTES, AmbiguousManifestError, manifest_media_type
from vreg_shared.oci.reference import Reference
from vreg_shared.provider import Verdict
from vreg_shared.registry_client.content_range import content_length
from vreg_shared.registry_client.results import Manifest, ManifestDescriptor
from vreg_shared.registry_client.transport import RequestFailedError, is_encoded, read_body, unavailable

BODY_SECONDS: Final = 30.0
"""For a body that is read whole. A blob has no such limit, only one on progress."""


def body_size(response: aiohttp.ClientResponse) -> int | None:
    """Return the length an answer promises, or None when it is encoded or says none."""
    return None if is_encoded(response) else content_length(response.headers.get("Content-Length"))


def told_by_head(response: aiohttp.ClientResponse) -> ManifestDescriptor | None:
    """Return what HEAD told, or None unless it told everything."""
    size = body_size(response)
    media_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    digest = _digest_header(response)
    if size is None or digest is None or not media_type:
        return None
    return ManifestDescriptor(digest, media_type, size)


def _digest_header(response: aiohttp.ClientResponse) -> Digest | None:
    try:
        return Digest.parse(response.headers.get("Docker-Content-Digest", ""))
    except InvalidDigestError:
        return None


def checked_descriptor(told: ManifestDescriptor, reference: Reference) -> ManifestDescriptor | Verdict:
    """Return the descriptor when it is of what was asked for and small enough."""
    if isinstance(reference, Digest) and told.digest != reference:
        return unavailable("digest_mismatch", f"asked for {reference}, told of {told.digest}").verdict
    if told.size > MAX_MANIFEST_BYTES:
        return unavailable("body_too_large", f"a manifest of {told.size} bytes").verdict
    return told


async def read_manifest(response: aiohttp.ClientResponse, reference: Reference) -> Manifest | Verdict:
    """Read a manifest whole, hash it, and return it when all it says of itself is true."""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            body = await read_body(response, MAX_MANIFEST_BYTES)
        media_type = manifest_media_type(body, response.headers.get("Content-Type"))
    except RequestFailedError as error:
        return error.verdict
    except AmbiguousManifestError as error:
        return unavailable("manifest_invalid", str(error)).verdict
    except TimeoutError:
        response.close()
        return unavailable("timeout", "the manifest did not arrive in time").verdict
    promised = reference if isinstance(reference, Digest) else _digest_header(response)
    digest = Digest.of(body, promised.algorithm if promised is not None else "sha256")
    if promised is not None and digest != promised:
        return unavailable("digest_mismatch", f"promised {promised}, the bytes are {digest}").verdict
    return Manifest(digest, media_type, body)
