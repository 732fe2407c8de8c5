"""The issuer's keys on disk: the first is made unasked, others by rotation, each published beforehand."""

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from vreg_cli.home import Home
from vreg_cli.issuer_rotation import Rotation, rotated
from vreg_cli.whole_files import write_whole
from vreg_shared.errors import VregError
from vreg_shared.issuer_keys import IssuerKey, IssuerKeys, issuer_key_paths, read_issuer_keys
from vreg_shared.key_files import MissingKeyError, Service

_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


class KeysUnsafeError(VregError):
    """Keys are open to other users, or do not fit each other; the text says how to mend it."""


def ensure_issuer_keys(home: Home, now: datetime) -> None:
    """Make the first key if there never was one, and publish what is not; raise VregError."""
    folder, jwks = _folder(home), home.public_keys.issuer_jwks_path
    folder.mkdir(0o700, parents=True, exist_ok=True)
    with _locked(home):
        if issuer_key_paths(folder):
            _require_private(home)
        elif jwks.exists():
            raise MissingKeyError(
                f"{folder} holds no key and {jwks} holds public ones; restore the folder from a backup, or "
                "remove the file to begin with a new key (clouds accept it once they have read it)"
            )
        else:
            _make_first(home, now)
        _publish(home, read_issuer_keys(folder))


def read_keys(home: Home) -> IssuerKeys:
    """Read the keys of a home that was set up; raise MissingKeyError."""
    return read_issuer_keys(_folder(home))


def rotate(home: Home, now: datetime, overlap: timedelta) -> Rotation:
    """Rotate the keys of a home that was set up, and return what was done; raise VregError.

    Every step leaves keys that work: published first, then made; no longer published, then removed.
    """
    folder = _folder(home)
    with _locked(home):
        rotation = rotated(read_issuer_keys(folder), now, overlap, IssuerKey.generate)
        _publish(home, rotation.keys)
        if rotation.added is not None:
            write_whole(folder / rotation.added.file_name, rotation.added.to_pem(), 0o600)
        for key in rotation.dropped:
            (folder / key.file_name).unlink()
    return rotation


def _make_first(home: Home, now: datetime) -> None:
    """Make a key that signs at once: nobody has read an older one."""
    first = IssuerKey.generate(now.replace(microsecond=0))
    write_whole(_folder(home) / first.file_name, first.to_pem(), 0o600)


def _publish(home: Home, keys: IssuerKeys) -> None:
    path, content = home.public_keys.issuer_jwks_path, keys.jwks()
    if not path.exists() or path.read_bytes() != content:
        path.parent.mkdir(0o755, parents=True, exist_ok=True)
        write_whole(path, content, 0o644)


def _require_private(home: Home) -> None:
    for path in (_folder(home), *issuer_key_paths(_folder(home))):
        if stat.S_IMODE(path.stat().st_mode) & _OTHERS:
            raise KeysUnsafeError(f"{path} is open to other users; run `chmod -R go-rwx {_folder(home)}`")


@contextmanager
def _locked(home: Home) -> Iterator[None]:
    """Let one change the keys at a time; vreg itself may go on running meanwhile."""
    try:
        descriptor = os.open(_folder(home), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise MissingKeyError(f"there is no folder {_folder(home)}; run `vreg setup` first") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _folder(home: Home) -> Path:
    return home.key_folder(Service.TOKEN_BROKER).issuer_path
