"""One Range, or the whole body: several ranges cost more than they are worth (CVE-2025-62727)."""

import re
from dataclasses import dataclass
from typing import Final

MAX_RANGE_BYTES: Final = 64
_SINGLE: Final = re.compile(rb"bytes=(\d{0,19})-(\d{0,19})", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes from `start` up to, not including, `stop`."""

    start: int
    stop: int

    def content_range(self, size: int) -> bytes:
        """Return the Content-Range of this part of a body of `size` bytes."""
        return f"bytes {self.start}-{self.stop - 1}/{size}".encode()


class Unsatisfiable:
    """The range lies outside the body."""


UNSATISFIABLE: Final = Unsatisfiable()


def requested_part(header: bytes | None, size: int) -> Part | Unsatisfiable | None:
    """Return the part a Range header asks for; None when the whole body is the answer.

    A header we do not read (another unit, several ranges, nonsense) is ignored, as RFC 9110 14.2 allows.
    """
    if header is None or len(header) > MAX_RANGE_BYTES:
        return None
    match = _SINGLE.fullmatch(header)
    if match is None or match.groups() == (b"", b""):
        return None
    first, last = match.groups()
    if not first:
        return _suffix(int(last), size)
    start = int(first)
    stop = min(int(last) + 1, size) if last else size
    if last and int(last) < start:
        return None
    return Part(start, stop) if start < size else UNSATISFIABLE


def _suffix(length: int, size: int) -> Part | Unsatisfiable:
    if length == 0 or size == 0:
        return UNSATISFIABLE
    return Part(max(0, size - length), size)
