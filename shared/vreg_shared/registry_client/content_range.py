"""What a 206 says it holds, believed only when it is what we asked for."""

import re
from typing import Final

_CONTENT_RANGE: Final = re.compile(
    r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})", re.IGNORECASE | re.ASCII
)
_LENGTH: Final = re.compile(r"[0-9]{1,18}", re.ASCII)


def resumed_size(content_range: str | None, offset: int) -> int | None:
    """Return the whole size when the range begins at `offset` and ends at the end; otherwise None."""
    match = _CONTENT_RANGE.fullmatch((content_range or "").strip())
    if match is None:
        return None
    first, last, size = (int(group) for group in match.groups())
    return size if first == offset and first <= last and last == size - 1 else None


def content_length(value: str | None) -> int | None:
    """Return a Content-Length, or None when there is none to be read."""
    text = (value or "").strip()
    return int(text) if _LENGTH.fullmatch(text) else None
