"""Signed records on this machine's disk, verbatim, so that a proxy restarts without bus, api or broker.

Several worker processes share the folder. What is read from it is verified like anything from the bus.
"""

import fcntl
import json
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

_KEY: Final = re.compile(r"[a-z]+\.[A-Za-z0-9_-]{1,64}", re.ASCII)
_SUFFIX: Final = ".json"
_WHOLE: Final = ".whole"


class RecordFiles:
    """One bucket's records, one file a key. Files are replaced whole and never by an older version."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, key: str, version: int, raw: bytes) -> None:
        """Write a record unless a newer one lies there; a key that is no file name is left out."""
        if _KEY.fullmatch(key) is None:
            return
        with self._locked():
            path = self._folder / f"{key}{_SUFFIX}"
            if _version_of(path) >= version:
                return
            _replace(path, raw)

    def all(self) -> Iterator[tuple[str, bytes]]:
        """Yield every key and the raw record kept for it; an unreadable file is left out."""
        if not self._folder.is_dir():
            return
        for path in sorted(self._folder.glob(f"*{_SUFFIX}")):
            with suppress(OSError):
                yield path.name.removesuffix(_SUFFIX), path.read_bytes()

    @property
    def is_whole(self) -> bool:
        """Whether all that the bus held at some time lies here, be it nothing, and not only a part."""
        return (self._folder / _WHOLE).exists()

    def mark_whole(self) -> None:
        """Remember that a whole snapshot of the bus has been kept."""
        if not self.is_whole:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            (self._folder / _WHOLE).touch(mode=0o600)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(self._folder / ".lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)


def _version_of(path: Path) -> int:
    """Return the version a file claims, 0 for none; only to spare writing, so it may be unverified."""
    try:
        version = json.loads(path.read_bytes())["version"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return 0
    return version if isinstance(version, int) else 0


def _replace(path: Path, raw: bytes) -> None:
    """Write beside the file and rename, so that a reader sees the old record or the new one."""
    handle, beside = tempfile.mkstemp(dir=path.parent, prefix=".writing-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(raw)
        Path(beside).replace(path)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise
