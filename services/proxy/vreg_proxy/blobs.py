"""Pulling a blob: from the cache with a right to it, otherwise from the upstreams in their order."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Protocol

from vreg_proxy.asking import Asking, origin_of
from vreg_proxy.holdings import BlobHoldings, HeldBlob
from vreg_proxy.resolution import Candidate, Obstacle
from vreg_proxy.turns import Turns
from vreg_proxy.upstreams import UpstreamUnusableError
from vreg_proxy.walk import Found, Given, Nowhere, Refusal, Stopped, walk
from vreg_shared.oci.digest import Digest
from vreg_shared.provider import Verdict
from vreg_shared.registry_client import BlobStream


class CountsBlobs(Protocol):
    """Who counts what arrives."""

    def fetching(self, upstream_id: str) -> None:
        """Count a blob that begins to arrive."""
        ...

    def received(self, upstream_id: str, size: int) -> None:
        """Count bytes of a blob that arrived."""
        ...


class UpstreamBlob:
    """One blob of one upstream. It lends a client for each request, so it may outlive whoever made it."""

    def __init__(
        self, asking: Asking, turns: Turns, measures: CountsBlobs, candidate: Candidate, digest: Digest
    ) -> None:
        self._asking = asking
        self._turns = turns
        self._measures = measures
        self._candidate = candidate
        self._digest = digest

    @asynccontextmanager
    async def open(self, offset: int) -> AsyncIterator[BlobStream | Verdict]:
        """Ask for the blob from `offset`, when it is the client's turn.

        A silent upstream is left in peace, with or without a right; a download that goes on where it was has
        patience of its own.
        """
        silence = self._asking.silence(self._candidate) if offset == 0 else None
        if silence is not None:
            yield silence
            return
        async with self._turns.turn(self._candidate.upstream.id) as no_turn:
            if no_turn is not None:
                yield no_turn
                return
            try:
                async with (
                    self._asking.client(self._candidate) as client,
                    client.open_blob(self._candidate.repository, self._digest, offset) as stream,
                ):
                    self._heard(stream)
                    yield stream if isinstance(stream, Verdict) else self._counted(stream)
            except UpstreamUnusableError as error:
                yield error.verdict

    async def prove(self) -> int | Verdict:
        """Ask by HEAD for the blob's size."""
        silence = self._asking.silence(self._candidate)
        if silence is not None:
            return silence
        try:
            async with self._asking.client(self._candidate) as client:
                size = await client.head_blob(self._candidate.repository, self._digest)
        except UpstreamUnusableError as error:
            return error.verdict
        self._heard(size)
        return size

    def _counted(self, stream: BlobStream) -> BlobStream:
        upstream_id = self._candidate.upstream.id
        self._measures.fetching(upstream_id)

        async def chunks() -> AsyncIterator[bytes]:
            async for chunk in stream.chunks:
                self._measures.received(upstream_id, len(chunk))
                yield chunk

        return BlobStream(stream.size, stream.offset, chunks())

    def _heard(self, answer: BlobStream | int | Verdict) -> None:
        verdict = answer if isinstance(answer, Verdict) else None
        self._asking.heard(self._candidate, _subject(self._digest), verdict)


class Blobs:
    """Finds blobs."""

    def __init__(self, holdings: BlobHoldings, asking: Asking, turns: Turns, measures: CountsBlobs) -> None:
        self._holdings = holdings
        self._asking = asking
        self._turns = turns
        self._measures = measures

    async def size(
        self, candidates: Sequence[Candidate | Obstacle], digest: Digest
    ) -> Found[int] | Stopped | Nowhere:
        """Return the size of a blob, or where the walk ended."""

        async def ask(candidate: Candidate) -> Given[int] | Refusal[int]:
            origin = origin_of(candidate)
            refusal = await self._known_refusal(candidate, digest)
            if refusal is not None:
                return Refusal(refusal)
            size = await self._holdings.blob_size(origin, digest, self._source(candidate, digest))
            return Refusal(size) if isinstance(size, Verdict) else Given(size)

        return await walk(await self._holders_first(candidates, digest), ask)

    @asynccontextmanager
    async def open(
        self, candidates: Sequence[Candidate | Obstacle], digest: Digest
    ) -> AsyncIterator[Found[HeldBlob] | Stopped | Nowhere]:
        """Open a blob for reading, or tell where the walk ended."""
        async with AsyncExitStack() as opened:

            async def ask(candidate: Candidate) -> Given[HeldBlob] | Refusal[HeldBlob]:
                origin = origin_of(candidate)
                refusal = await self._known_refusal(candidate, digest)
                if refusal is not None:
                    return Refusal(refusal)
                blob = await self._holdings.blob(origin, digest, self._source(candidate, digest))
                if isinstance(blob, Verdict):
                    return Refusal(blob)
                await opened.enter_async_context(blob)
                return Given(blob)

            yield await walk(await self._holders_first(candidates, digest), ask)

    async def _holders_first(
        self, candidates: Sequence[Candidate | Obstacle], digest: Digest
    ) -> Sequence[Candidate | Obstacle]:
        """Begin with those that have a right already: they need not be asked."""
        for candidate in candidates:
            if isinstance(candidate, Candidate) and await self._has_right(candidate, digest):
                return [candidate, *(other for other in candidates if other is not candidate)]
        return candidates

    async def _has_right(self, candidate: Candidate, digest: Digest) -> bool:
        return await self._holdings.right(origin_of(candidate), digest) is not None

    async def _known_refusal(self, candidate: Candidate, digest: Digest) -> Verdict | None:
        """Return what the upstream lacked a moment ago. A right needs no answer."""
        if await self._has_right(candidate, digest):
            return None
        return self._asking.absence(candidate, _subject(digest))

    def _source(self, candidate: Candidate, digest: Digest) -> UpstreamBlob:
        return UpstreamBlob(self._asking, self._turns, self._measures, candidate, digest)


def _subject(digest: Digest) -> str:
    return f"blob {digest}"
