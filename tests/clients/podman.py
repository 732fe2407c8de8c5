"""podman: pulls into a storage of its own, and can run what it pulled."""

import shutil
from pathlib import Path

from tests.clients.process import run, run_well
from tests.clients.short_folder import short_folder

_MIRROR = """[[registry]]
location = "docker.io"
[[registry.mirror]]
location = "{mirror}/hub"
insecure = true
"""
"""registries.conf as docs/clients.md shows it, in the format CRI-O reads too."""


class Podman:
    """Removes what it pulled before it pulls again, so that every pull is cold."""

    name = "podman"

    def __init__(self, folder: Path, auth_file: Path, *, mirror: str | None = None) -> None:
        self._auth_file = auth_file
        self._registries = folder / "registries.conf"
        folder.mkdir(parents=True, exist_ok=True)
        self._registries.write_text(_MIRROR.format(mirror=mirror) if mirror is not None else "")
        self._run_root = short_folder("podman")
        storage = ("--root", str(folder / "root"), "--runroot", str(self._run_root))
        self._command = ("podman", *storage, "--storage-driver", "vfs", "--cgroup-manager", "cgroupfs")

    @staticmethod
    def is_installed() -> bool:
        return shutil.which("podman") is not None

    async def prepare(self) -> None:
        """Nothing has to run before a pull."""

    async def pull(self, image: str, *, deadline: float = 120) -> str:
        """Pull `host/repository:tag`; return the digest of the manifest behind the tag."""
        await run([*self._command, "rmi", "--all", "--force"], deadline=deadline)
        await run_well(
            [
                *(*self._command, "pull", "--quiet", "--tls-verify=false"),
                *("--authfile", str(self._auth_file), image),
            ],
            deadline=deadline,
            environment={"CONTAINERS_REGISTRIES_CONF": str(self._registries)},
        )
        printed = await run_well([*self._command, "image", "inspect", "--format", "{{.Digest}}", image])
        return printed.strip()

    async def run(self, image: str) -> str:
        """Run an image that was pulled, without a network; return what it prints.

        runc and modest limits, for machines with old cgroups, or where root may not raise a limit.
        """
        limits = ("--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024")
        running = ("--runtime", "runc", "run", "--rm", "--pull=never", "--network=none")
        return await run_well([*self._command, *running, *limits, image])

    async def close(self) -> None:
        """Remove images, so that the folder can be deleted."""
        await run([*self._command, "rmi", "--all", "--force"])
        shutil.rmtree(self._run_root, ignore_errors=True)
