"""What the cache asks of an upstream: one blob, from an offset, and the proof that it may be read."""

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from vreg_shared.provider import Verdict
from vreg_shared.registry_client.results import BlobStream


class BlobSource(Protocol):
    """One blob of one origin. It outlives the client that brought it: a fill goes on for others.

    Whoever implements it bounds every wait; the cache resumes a body, but never times one.
    """

    def open(self, offset: int) -> AbstractAsyncContextManager[BlobStream | Verdict]:
        """Ask for the blob from `offset`; the stream's own offset may be 0 instead.

        Its chunks raise BlobInterruptedError when the body ends early.
        """
        ...

    async def prove(self) -> int | Verdict:
        """Ask with HEAD whether this origin has the blob and lets us read it; return its size in bytes."""
        ...
