"""Single byte ranges, as object stores read them."""

import re

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


def read_range(header: str | None, size: int) -> tuple[int, int] | None:
    """Return first and last byte; None for no range, several or malformed ones."""
    match = _RANGE.fullmatch(header or "")
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        return (max(0, size - int(last)), size - 1) if int(last) else (size, size)
    if last and int(last) < int(first):
        return None
    return int(first), min(int(last), size - 1) if last else size - 1
