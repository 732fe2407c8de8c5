"""Digests: `algorithm:hex`, for the two algorithms the OCI image specification registers."""

import hashlib
import re
from dataclasses import dataclass
from typing import Final, Protocol, Self

from vreg_shared.errors import VregError

_GRAMMAR: Final = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")


class InvalidDigestError(VregError):
    """The text is not a sha256 or sha512 digest in lower-case hex."""


class Hasher(Protocol):
    """What we use of a hashlib object."""

    def update(self, data: bytes | bytearray | memoryview, /) -> None:
        """Take in more bytes."""
        ...

    def hexdigest(self) -> str:
        """Return the digest of all bytes so far, in lower-case hex."""
        ...


@dataclass(frozen=True, slots=True)
class Digest:
    """Whoever holds one need not check it again; `hex` is safe as a file name."""

    algorithm: str
    hex: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a digest; raise InvalidDigestError when the whole text is not one."""
        if _GRAMMAR.fullmatch(text) is None:
            raise InvalidDigestError("a digest is sha256:<64 hex> or sha512:<128 hex>, in lower case")
        algorithm, _, hexadecimal = text.partition(":")
        return cls(algorithm, hexadecimal)

    @classmethod
    def of(cls, content: bytes | bytearray | memoryview, algorithm: str = "sha256") -> Self:
        """Hash `content`."""
        return cls(algorithm, hashlib.new(algorithm, content).hexdigest())

    def hasher(self) -> Hasher:
        """Return an empty hash of this digest's algorithm."""
        return hashlib.new(self.algorithm)

    def matches(self, hasher: Hasher) -> bool:
        """Whether `hasher` has seen exactly the bytes this digest names."""
        return hasher.hexdigest() == self.hex

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"
