"""Bytes on disk, once for all origins, under a name that is their own verified digest."""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from vreg_proxy.cache.running_hash import running_hash
from vreg_shared.errors import VregError
from vreg_shared.oci.digest import Digest, InvalidDigestError

QUARANTINED: Final = 16
"""Bad entries kept for a person to look at; older ones go."""
PIECE: Final = 1024 * 1024
PROBE: Final = 64 * 1024


class CacheUnwritableError(VregError):
    """The cache folder takes no bytes (full, read-only, broken): serve without it, and free some space."""


class WrongContentError(VregError):
    """The bytes are not those the digest names, and are not kept. Fetch them again."""


class ContentStore:
    """Calls block on the disk: use a thread. Only a Digest ever becomes a path."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._content = root / "content"
        self._quarantine = root / "quarantine"

    def path(self, digest: Digest) -> Path:
        """Return where these bytes are, if they are here."""
        return self._content / digest.algorithm / digest.hex[:2] / digest.hex

    def open(self, digest: Digest) -> int | None:
        """Return a descriptor for reading, or None when the content is not here. The caller closes it."""
        try:
            return os.open(self.path(digest), os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None

    def has_room(self, size: int) -> bool:
        """Whether the disk has this many bytes left; a disk that cannot say is tried."""
        free = self.free_bytes()
        return free is None or free >= size

    def free_bytes(self) -> int | None:
        """Return what the disk has left for us, or None when it cannot say."""
        try:
            free = os.statvfs(self._root)
        except OSError:
            return None
        return free.f_bavail * free.f_frsize

    def bytes_beside(self) -> int:
        """Return the bytes of fills under way and of what is quarantined."""
        return sum(
            _size(path) for folder in (self._root / "filling", self._quarantine) for path in _in(folder)
        )

    def walk(self) -> Iterator[tuple[Digest, int, int]]:
        """Give digest, size and Unix second of every file of content; other files are left alone."""
        for path in self._content.glob("*/*/*"):
            with suppress(OSError, InvalidDigestError):
                found = path.stat()
                yield (
                    Digest.parse(f"{path.parent.parent.name}:{path.name}"),
                    found.st_size,
                    int(found.st_mtime),
                )

    def remove(self, digest: Digest) -> bool:
        """Take content's name away, and its bytes with the last reader; tell whether it was here."""
        try:
            self.path(digest).unlink()
        except OSError:
            return False
        return True

    def empty_quarantine(self) -> int:
        """Remove what was put aside; return its bytes."""
        freed = 0
        for path in _in(self._quarantine):
            size = _size(path)
            with suppress(OSError):
                path.unlink()
                freed += size
        return freed

    def try_to_write(self) -> None:
        """Write a little and remove it again. Raises CacheUnwritableError."""
        make_folder(self._root / "filling")
        try:
            with tempfile.TemporaryFile(dir=self._root / "filling", buffering=0) as probe:
                if probe.write(bytes(PROBE)) != PROBE:
                    raise CacheUnwritableError("the cache's disk is full; free some space")
        except OSError as error:
            raise CacheUnwritableError(f"the cache takes no bytes: {error.strerror}") from error

    def commit(self, part: Path, descriptor: int, digest: Digest, size: int) -> None:
        """Give finished, hashed bytes their name, so that it survives a crash or is not there at all.

        The caller has compared the digest. Raises WrongContentError on a wrong length, CacheUnwritableError.
        """
        if os.fstat(descriptor).st_size != size:
            raise WrongContentError("the file has another length than the upstream announced")
        target = self.path(digest)
        try:
            os.fsync(descriptor)
            is_known = target.parent.is_dir()
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not is_same_file(target, descriptor):  # a dead owner may have come as far as this
                part.rename(target)
            for folder in [target.parent] if is_known else list(target.parents)[:4]:
                fsync_folder(folder)
        except OSError as error:
            raise CacheUnwritableError(f"{target.name} could not be committed: {error.strerror}") from error

    def put(self, digest: Digest, body: bytes) -> None:
        """Keep small content unless it is here; the caller has computed its digest.

        Raises CacheUnwritableError.
        """
        if self.path(digest).exists():
            return
        make_folder(self._root / "filling")
        try:
            descriptor, name = tempfile.mkstemp(".tmp", dir=self._root / "filling")
        except OSError as error:
            raise CacheUnwritableError(f"nothing can be stored: {error.strerror}") from error
        part = Path(name)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)  # a part nobody locks is swept away
            if os.write(descriptor, body) != len(body):
                raise CacheUnwritableError("nothing can be stored: no space left on device")
            self.commit(part, descriptor, digest, len(body))
        except OSError as error:
            raise CacheUnwritableError(f"nothing can be stored: {error.strerror}") from error
        finally:
            with suppress(OSError):
                part.unlink(missing_ok=True)
            os.close(descriptor)

    def read_whole(self, digest: Digest) -> bytes | None:
        """Return small content after hashing it again, or None when it is not here.

        Bad content is put aside and raises WrongContentError.
        """
        descriptor = self.open(digest)
        if descriptor is None:
            return None
        try:
            body = _read_to_end(descriptor)
            if Digest.of(body, digest.algorithm) != digest:
                self.quarantine(digest, descriptor)
                raise WrongContentError("the bytes on disk are not those the digest names")
        except OSError:
            return None
        finally:
            os.close(descriptor)
        return body

    def is_sound(self, descriptor: int, digest: Digest) -> bool:
        """Hash an open file from its beginning; an unreadable one is not sound."""
        hasher, buffer, position = running_hash(digest), bytearray(PIECE), 0
        try:
            while count := os.preadv(descriptor, [buffer], position):
                hasher.update(memoryview(buffer)[:count])
                position += count
        except OSError:
            return False
        return hasher.hexdigest() == digest.hex

    def quarantine(self, digest: Digest, descriptor: int) -> None:
        """Take bad content out of the way, unless another process has replaced it already.

        Readers that hold it open are told by whoever found out.
        """
        if not is_same_file(self.path(digest), descriptor):
            return
        try:
            self._quarantine.mkdir(exist_ok=True, mode=0o700)
            self.path(digest).rename(self._quarantine / f"{digest.algorithm}-{digest.hex}")
            kept = sorted(self._quarantine.iterdir(), key=lambda path: path.stat().st_mtime_ns)
            for path in kept[:-QUARANTINED]:
                path.unlink(missing_ok=True)
        except OSError:
            with suppress(OSError):
                self.path(digest).unlink(missing_ok=True)


def _in(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def make_folder(folder: Path) -> None:
    """Make a folder nobody else may look into, also later than at start. Raises CacheUnwritableError."""
    if folder.is_dir():
        return
    try:
        folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.mkdir(exist_ok=True, mode=0o700)
    except OSError as error:
        raise CacheUnwritableError(f"the cache folder cannot be made: {error.strerror}") from error


def is_same_file(path: Path, descriptor: int) -> bool:
    """Whether a name means the open file."""
    try:
        named = path.stat()
    except OSError:
        return False
    opened = os.fstat(descriptor)
    return (named.st_dev, named.st_ino) == (opened.st_dev, opened.st_ino)


def fsync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read_to_end(descriptor: int) -> bytes:
    pieces, position = [], 0
    while piece := os.pread(descriptor, PIECE, position):
        pieces.append(piece)
        position += len(piece)
    return b"".join(pieces)
