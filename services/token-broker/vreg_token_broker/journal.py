"""Append-only files of audit events, on disk before anybody acts on them, each with the hash of the last.

`journal-<n>.ndjson`, one event a line; a full file is followed by the next, and old ones go once published.
Blocking: every method runs in the ledger's one thread.
"""

import fcntl
import hashlib
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from vreg_shared.errors import VregError

FILE_BYTES: Final = 8 * 1024 * 1024
TOTAL_BYTES: Final = 256 * 1024 * 1024
"""Beyond this, events nobody has fetched stop the exchanges rather than be lost."""
KEPT_FILES: Final = 4
START: Final = "0" * 64
_NAME: Final = re.compile(r"journal-(\d{10})\.ndjson", re.ASCII)
_log = structlog.get_logger(__name__)


class AuditUnavailableError(VregError):
    """No event can be made durable, so nothing may happen that needs one: free the disk of the journal."""


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """The end of an event: number of the file, and bytes into it."""

    file: int
    offset: int


@dataclass(frozen=True, slots=True)
class Link:
    """An event's place in the chain: its number, and the SHA-256 of the line before it."""

    sequence: int
    previous_hash: str


class Journal:
    """The files of one broker. Only one process may have them open; `open` sees to that by a lock."""

    def __init__(self, folder: Path, *, file_bytes: int = FILE_BYTES, total_bytes: int = TOTAL_BYTES) -> None:
        self._folder = folder
        self._file_bytes = file_bytes
        self._total_bytes = total_bytes
        self._descriptor = -1
        self._lock = -1
        self._number = 1
        self._size = 0
        self._is_dirty = False
        self._tail = Link(0, START)

    def open(self) -> None:
        """Find the chain's end and cut off a line that was never finished; raise AuditUnavailableError."""
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = _locked(self._folder / "lock")
            numbers = self.numbers()
            self._number = numbers[-1] if numbers else 1
            self._descriptor = self._open_file(self._number)
            self._repair()
            self._tail = self._find_tail(numbers)
        except OSError as error:
            raise _unavailable(self._folder, error) from error

    def close(self) -> None:
        """Let go of the files."""
        for descriptor in (self._descriptor, self._lock):
            if descriptor >= 0:
                os.close(descriptor)
        self._descriptor = self._lock = -1

    def append(self, line_of: Callable[[Link], bytes]) -> None:
        """Write the line that `line_of` makes for its place, on disk when this returns.

        Raises AuditUnavailableError, and then nothing was written: what a full disk took of it is cut off.
        """
        try:
            self._make_room()
            line = line_of(Link(self._tail.sequence + 1, self._tail.previous_hash))
            self._write(line + b"\n")
        except OSError as error:
            raise _unavailable(self._folder, error) from error
        self._size += len(line) + 1
        self._tail = Link(self._tail.sequence + 1, hash_of(line))

    def read(self, after: Position, limit: int) -> list[tuple[Position, bytes]]:
        """Return up to `limit` lines that end after a position, with where each ends.

        A position this journal does not have counts as its beginning: twice is better than never.
        """
        found: list[tuple[Position, bytes]] = []
        numbers = self.numbers()
        if not self._holds(after, numbers):
            after = Position(0, 0)
        for number in numbers:
            if number < after.file:
                continue
            start = after.offset if number == after.file else 0
            for position, line in _lines(self._path(number), number, start):
                if number == self._number and position.offset > self._size:
                    return found  # not durable yet
                found.append((position, line))
                if len(found) == limit:
                    return found
        return found

    def recent(self) -> Iterator[bytes]:
        """Return the lines of the last two files."""
        for number in self.numbers()[-2:]:
            yield from (line for _, line in _lines(self._path(number), number, 0))

    def forget(self, published: Position) -> None:
        """Remove old files whose every event was published, but for the latest few."""
        for number in self.numbers()[:-KEPT_FILES]:
            if number < published.file:
                self._path(number).unlink(missing_ok=True)

    def numbers(self) -> list[int]:
        """Return the numbers of the files there are, oldest first."""
        names = (_NAME.fullmatch(path.name) for path in self._folder.iterdir())
        return sorted(int(match[1]) for match in names if match is not None)

    def _holds(self, position: Position, numbers: list[int]) -> bool:
        """Whether a position is of this journal, and not of one that lay here before."""
        if position.file not in numbers:
            return False
        return position.offset <= self._path(position.file).stat().st_size

    def _path(self, number: int) -> Path:
        return self._folder / f"journal-{number:010d}.ndjson"

    def _open_file(self, number: int) -> int:
        descriptor = os.open(self._path(number), os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        _sync_folder(self._folder)
        self._size = os.fstat(descriptor).st_size
        return descriptor

    def _repair(self) -> None:
        """Cut off what follows the last line's end: it was never acknowledged."""
        keep = _whole_lines(self._path(self._number))
        if keep < self._size:
            _log.warning(
                "journal_line_unfinished", file=self._path(self._number).name, bytes=self._size - keep
            )
            os.ftruncate(self._descriptor, keep)
            os.fsync(self._descriptor)
            self._size = keep

    def _find_tail(self, numbers: list[int]) -> Link:
        for number in reversed(numbers):
            last = b""
            for _, line in _lines(self._path(number), number, 0):
                last = line
            if last:
                return Link(sequence_of(last), hash_of(last))
        return Link(0, START)

    def _make_room(self) -> None:
        if self._descriptor < 0:
            raise OSError(0, "the journal is not open")
        if self._is_dirty:
            os.ftruncate(self._descriptor, self._size)
            os.fsync(self._descriptor)
            self._is_dirty = False
        if self._size < self._file_bytes:
            return
        if sum(self._path(number).stat().st_size for number in self.numbers()) >= self._total_bytes:
            raise OSError(0, f"{self._total_bytes} bytes of events wait to be published; bring the bus back")
        descriptor = self._open_file(self._number + 1)
        os.close(self._descriptor)
        self._descriptor = descriptor
        self._number += 1

    def _write(self, line: bytes) -> None:
        self._is_dirty = True
        written = 0
        while written < len(line):
            written += os.write(self._descriptor, line[written:])
        os.fsync(self._descriptor)
        self._is_dirty = False


def hash_of(line: bytes) -> str:
    """Return what the next line names this one by."""
    return hashlib.sha256(line).hexdigest()


def sequence_of(line: bytes) -> int:
    """Return the number in a line of ours, 0 if it cannot be read."""
    match = re.search(rb'"sequence":(\d{1,15})', line)
    return int(match[1]) if match is not None else 0


def _lines(path: Path, number: int, start: int) -> Iterator[tuple[Position, bytes]]:
    with path.open("rb") as file:
        file.seek(start)
        offset = start
        for line in file:
            if not line.endswith(b"\n"):
                return
            offset += len(line)
            yield Position(number, offset), line[:-1]


def _whole_lines(path: Path) -> int:
    """Return how many bytes of a file are whole lines."""
    raw = path.read_bytes()
    return raw.rfind(b"\n") + 1


def _locked(path: Path) -> int:
    """Hold a lock until the descriptor is closed; raise OSError if another process holds it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise OSError(error.errno, "another token-broker is using it") from error
    return descriptor


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unavailable(folder: Path, error: OSError) -> AuditUnavailableError:
    return AuditUnavailableError(
        f"the audit journal in {folder} cannot be written ({error.strerror}): no exchange is made until "
        "it can; free the disk, or let VREG_BROKER_STATE name another folder"
    )
