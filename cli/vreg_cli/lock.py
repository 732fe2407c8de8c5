"""One `vreg up` a home: a lock that the kernel gives back even after kill -9."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from vreg_cli.home import Home
from vreg_shared.errors import VregError


class AlreadyRunningError(VregError):
    """Another `vreg up` holds this home; the text names its process."""


@contextmanager
def locked(home: Home) -> Iterator[None]:
    """Hold the home while the block runs; raise AlreadyRunningError.

    The file stays: removing it would let a third process lock another file of the same name.
    """
    descriptor = os.open(home.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _take(descriptor, home)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _take(descriptor: int, home: Home) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
        raise AlreadyRunningError(
            f"vreg already runs in {home.path} (process {holder}); stop it with `kill {holder}`, "
            "or choose another folder with --home (VREG_HOME)"
        ) from None
