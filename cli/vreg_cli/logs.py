"""Logs of bounded size: processes append to a file themselves, and we cut it when it has grown.

The file is copied aside and truncated, not renamed, since the writer keeps it open; writers append,
so they go on at its new end. No log passes through `vreg up`: if that hangs, services do not.
"""

import asyncio
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, Final

MAX_LOG_BYTES: Final = 16 * 1024 * 1024
_LOOK_EVERY_SECONDS: Final = 5.0
_TAIL_BYTES: Final = 16 * 1024


def open_log(path: Path) -> BinaryIO:
    """Open a log for a process to append to; only its owner may read it."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab", buffering=0)


def bound(path: Path, max_bytes: int = MAX_LOG_BYTES) -> None:
    """Move the content to `<path>.1` once it exceeds `max_bytes`; the older content is lost."""
    if not path.exists() or path.stat().st_size <= max_bytes:
        return
    shutil.copyfile(path, path.with_name(path.name + ".1"))
    path.with_name(path.name + ".1").chmod(0o600)
    os.truncate(path, 0)


async def keep_bounded(paths: Iterable[Path]) -> None:
    """Bound the logs for ever; a full disk is no reason to stop."""
    watched = tuple(paths)
    while True:
        for path in watched:
            try:
                bound(path)
            except OSError:
                continue
        await asyncio.sleep(_LOOK_EVERY_SECONDS)


def size(path: Path) -> int:
    """Return the length in bytes; 0 if there is none yet."""
    return path.stat().st_size if path.exists() else 0


def last_line(path: Path, since: int = 0) -> str:
    """Return the last line written after the first `since` bytes that is not empty, else ''."""
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        start = since if since <= end else 0
        file.seek(max(start, end - _TAIL_BYTES))
        lines = file.read().decode(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
