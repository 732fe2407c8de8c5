"""What every process may know of one fill, in a small file whose lock says who owns the fill.

The owner holds an exclusive flock on the record; a process with readers behind it holds a shared flock on
the bytes (`.part`). The kernel drops both when a process dies, so a dead owner is replaced and dead readers
do not count. A record is unlinked only by its owner and only after its ending is written, so whoever still
has it open learns how the fill ended.
"""

import fcntl
import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from vreg_proxy.cache.content_store import CacheUnwritableError, is_same_file
from vreg_proxy.cache.origin import Origin
from vreg_shared.oci.digest import Digest

RECORD_BYTES: Final = 16 * 1024
"""Written once in full, so that an ending still fits when the disk is full."""


@dataclass(frozen=True, slots=True)
class FillFiles:
    """The two names of a fill in progress: of one blob, from one upstream."""

    record: Path
    part: Path

    @classmethod
    def of(cls, folder: Path, digest: Digest, origin: Origin) -> Self:
        """Return the names. Readers see bytes before they are proved, so no upstream's reach another's."""
        record = folder / f"{digest.algorithm}-{digest.hex}.{origin.upstream_mark}.fill"
        return cls(record, record.with_suffix(".part"))


class FillRecord:
    """One open record. `asking` and `granted` are marks of origins; `ending` is None until it ended."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor
        self._end = 0
        self.asking: set[str] = set()
        self.granted: set[str] = set()
        self.size: int | None = None
        self.is_proved = False
        self.ending: dict[str, object] | None = None

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open the record that the name means now, making one if there is none.

        Raises CacheUnwritableError.
        """
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise CacheUnwritableError(f"no fill can begin: {error.strerror}") from error
        return cls(path, descriptor)

    def try_own(self) -> bool:
        """Take the lock if nobody has it, and read what an earlier owner left."""
        if not _try_lock(self._descriptor, fcntl.LOCK_EX):
            return False
        self.refresh()
        return True

    def prepare(self) -> None:
        """Reserve the record's room; the owner does it first. Raises CacheUnwritableError."""
        if os.fstat(self._descriptor).st_size >= RECORD_BYTES:
            return
        blank = b"\n" * RECORD_BYTES
        try:
            complete = os.pwrite(self._descriptor, blank, 0) == len(blank)
        except OSError as error:
            raise CacheUnwritableError(f"no fill can begin: {error.strerror}") from error
        if not complete:
            raise CacheUnwritableError("no fill can begin: no space left on device")

    @property
    def is_current(self) -> bool:
        """Whether the name still means this very file, and not a later fill's."""
        return is_same_file(self._path, self._descriptor)

    def refresh(self) -> None:
        """Read the lines written since the last time; a line half written is left for the next time."""
        try:
            text = os.pread(self._descriptor, RECORD_BYTES - self._end, self._end)
        except OSError:
            return
        for line in text.split(b"\n"):
            if not line:
                return
            try:
                self._take(json.loads(line))
            except ValueError:
                return
            self._end += len(line) + 1

    def note_asking(self, mark: str) -> None:
        """Tell that this origin's upstream is being asked, so that others of that origin wait for it."""
        if mark not in self.asking:
            self._write({"asking": mark})

    def note_granted(self, mark: str, size: int) -> None:
        """Tell that the origin's upstream answered 2xx, and the blob's size."""
        if mark not in self.granted:
            self._write({"granted": mark, "size": size})

    def note_proved(self) -> None:
        """Tell that all bytes are written and are those the digest names."""
        self._write({"proved": True})

    def note_ending(self, ending: dict[str, object]) -> None:
        """Tell how it ended; nothing follows."""
        self._write({"ending": ending})

    def remove_with(self, part: Path) -> None:
        """Take both names away, for the next fill to make its own; only the owner may, after an ending."""
        with suppress(OSError):
            part.unlink(missing_ok=True)
        with suppress(OSError):
            self._path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the lock, if it is ours, and of the file."""
        os.close(self._descriptor)

    def _take(self, line: dict[str, object]) -> None:
        match line:
            case {"asking": str(mark)}:
                self.asking.add(mark)
            case {"granted": str(mark), "size": int(size)}:
                self.granted.add(mark)
                self.size = size
            case {"proved": True}:
                self.is_proved = True
            case {"ending": dict(ending)}:
                self.ending = ending
            case _:
                pass

    def _write(self, line: dict[str, object]) -> None:
        text = json.dumps(line).encode() + b"\n"
        if self._end + len(text) < RECORD_BYTES:
            with suppress(OSError):
                os.pwrite(self._descriptor, text, self._end)
                self._end += len(text)
        self._take(line)


def try_follow(part: int) -> bool:
    """Count this process among the readers of a `.part`, until its descriptor is closed."""
    return _try_lock(part, fcntl.LOCK_SH)


def stop_following(part: int) -> None:
    """Count this process no longer: it owns the fill now."""
    fcntl.flock(part, fcntl.LOCK_UN)


def has_followers(part: Path) -> bool:
    """Whether any other process has readers behind this `.part`."""
    try:
        descriptor = os.open(part, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return not _try_lock(descriptor, fcntl.LOCK_EX)
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
