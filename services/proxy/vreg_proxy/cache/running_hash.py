"""A hash that can be split in two: one for what has come, one for what each reader fetches on its own."""

import hashlib
from typing import Protocol, Self

from vreg_shared.oci.digest import Digest


class RunningHash(Protocol):
    """What we use of a hashlib object. Large updates let other threads run."""

    def update(self, data: bytes | bytearray | memoryview, /) -> None:
        """Take in more bytes."""
        ...

    def hexdigest(self) -> str:
        """Return the digest of all bytes so far, in lower-case hex."""
        ...

    def copy(self) -> Self:
        """Return another that has seen the same bytes."""
        ...


def running_hash(digest: Digest) -> RunningHash:
    """Return an empty hash of this digest's algorithm."""
    return hashlib.new(digest.algorithm)
