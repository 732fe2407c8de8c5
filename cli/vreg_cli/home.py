"""The folder `vreg up` lives in: what lies where, and that only its owner can look inside."""

import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from vreg_shared.errors import VregError
from vreg_shared.key_files import PUBLIC_FOLDER, KeyFolder, PublicKeyFolder, Service

_PRIVATE_FOLDER = 0o700
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class HomeUnusableError(VregError):
    """The home cannot be created, read or written; the text names the path and the setting."""


@dataclass(frozen=True, slots=True)
class Home:
    """The layout of one vreg on one machine; `path` is absolute."""

    path: Path

    @property
    def keys(self) -> Path:
        """One private folder a service below it, and the public one."""
        return self.path / "keys"

    @property
    def public_keys(self) -> PublicKeyFolder:
        """Everybody's public keys."""
        return PublicKeyFolder(self.keys / PUBLIC_FOLDER)

    def key_folder(self, service: Service) -> KeyFolder:
        """Return where a service's own keys lie."""
        return KeyFolder(self.keys / service.value)

    @property
    def consumers(self) -> Path:
        """One private folder an outside consumer of audit events, with the seed it signs in with."""
        return self.keys / "consumers"

    def consumer_folder(self, name: str) -> KeyFolder:
        """Return where the seed of an outside consumer lies."""
        return KeyFolder(self.consumers / name)

    @property
    def nats_pid(self) -> Path:
        """Where the bus that `vreg up` started writes its process id."""
        return self.path / "run" / "nats.pid"

    @property
    def nats_configuration(self) -> Path:
        """What nats-server is started with; written anew at each start."""
        return self.path / "nats" / "nats.conf"

    @property
    def nats_store(self) -> Path:
        """Where the bus keeps its streams; losing it loses nothing."""
        return self.path / "nats" / "store"

    @property
    def database(self) -> Path:
        """The api's database, unless VREG_DATABASE_URL says another."""
        return self.path / "api" / "vreg.db"

    @property
    def broker_state(self) -> Path:
        """The token-broker's journal."""
        return self.path / "token-broker"

    @property
    def proxy_state(self) -> Path:
        """The signed records a proxy keeps to start without a bus."""
        return self.path / "proxy" / "records"

    @property
    def proxy_cache(self) -> Path:
        """What was pulled."""
        return self.path / "proxy" / "cache"

    @property
    def logs(self) -> Path:
        """One log a process."""
        return self.path / "logs"

    def log(self, name: str) -> Path:
        """Return the log of one process."""
        return self.logs / f"{name}.log"

    @property
    def lock(self) -> Path:
        """Held by the one `vreg up` that runs here; holds its process id."""
        return self.path / "run" / "lock"

    def folders(self) -> tuple[Path, ...]:
        """Return every folder that must be there before anything starts."""
        return (
            self.path,
            self.nats_store,
            self.database.parent,
            self.broker_state,
            self.proxy_state,
            self.proxy_cache,
            self.logs,
            self.lock.parent,
        )


def open_home(path: Path) -> Home:
    """Make what is missing, close it to other users, and return it; raise HomeUnusableError."""
    home = Home(path.expanduser().absolute())
    for folder in home.folders():
        try:
            _make_private(folder)
        except OSError as error:
            raise _unusable(folder, error.strerror or str(error)) from error
    return home


def _make_private(folder: Path) -> None:
    """Create the folder, or see that it is ours alone; an empty one is closed, a used one never changed."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    for each in reversed(missing):
        each.mkdir(_PRIVATE_FOLDER, exist_ok=True)
    is_empty = next(folder.iterdir(), None) is None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    mode = stat.S_IMODE(folder.stat().st_mode)
    if mode & _OTHERS and not is_empty:
        raise PermissionError(errno.EPERM, "other users can look into it (close it with `chmod go-rwx`)")
    if mode & _OTHERS:
        folder.chmod(_PRIVATE_FOLDER)


def _unusable(folder: Path, why: str) -> HomeUnusableError:
    return HomeUnusableError(
        f"home {folder} cannot be used: {why}; give it to the user who runs vreg, "
        "or choose another folder with --home (VREG_HOME)"
    )
