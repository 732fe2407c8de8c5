"""A blob's body as a stream that ends exactly where it should, or says that it did not."""

from collections.abc import AsyncIterator
from http import HTTPStatus

import aiohttp

from vreg_shared.provider import Verdict
from vreg_shared.registry_client.content_range import content_length, resumed_size
from vreg_shared.registry_client.failures import failure_of
from vreg_shared.registry_client.results import BlobInterruptedError, BlobStream
from vreg_shared.registry_client.transport import unavailable


def blob_stream(response: aiohttp.ClientResponse, offset: int, size: int | None) -> BlobStream | Verdict:
    """Return the stream of a 200 whose whole size is `size`, or of a 206 that begins at `offset`.

    Many an upstream lies about ranges: a 206 must begin where we asked and end at the end.
    """
    if response.status != HTTPStatus.PARTIAL_CONTENT:
        if size is None:
            return unavailable("length_unknown").verdict
        return BlobStream(size, 0, _chunks(response, 0, size))
    whole = resumed_size(response.headers.get("Content-Range"), offset)
    length = content_length(response.headers.get("Content-Length"))
    if whole is None or length not in {None, whole - offset}:
        return unavailable("range_mismatch", f"not the range from {offset} to the end").verdict
    return BlobStream(whole, offset, _chunks(response, offset, whole))


async def _chunks(response: aiohttp.ClientResponse, position: int, size: int) -> AsyncIterator[bytes]:
    try:
        async for chunk in response.content.iter_any():
            if position + len(chunk) > size:
                raise BlobInterruptedError("over_long", position)
            position += len(chunk)
            yield chunk
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        verdict = failure_of(error, response.url)
        reason = "timeout" if verdict is not None and verdict.reason == "timeout" else "connection_failed"
        raise BlobInterruptedError(reason, position) from error
    if position < size:
        raise BlobInterruptedError("truncated", position)
