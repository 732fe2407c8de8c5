"""A real Docker engine of our own, without networks and bridges, and the docker command that drives it."""

import asyncio
import os
import shutil
import signal
from asyncio.subprocess import DEVNULL, Process
from pathlib import Path

from tests.clients.process import ProgramFailedError, run, run_well
from tests.clients.short_folder import short_folder

_START_SECONDS = 60


class Dockerd:
    """Removes what it pulled before it pulls again, so that every pull is cold."""

    name = "dockerd"

    def __init__(self, folder: Path, auth_file: Path, *, mirror: str | None = None) -> None:
        self._folder = folder
        self._mirror = () if mirror is None else (f"--registry-mirror=http://{mirror}",)
        self._config = auth_file.parent
        self._sockets = short_folder("dockerd")
        self._process: Process | None = None
        self._docker = ("docker", "--config", str(self._config), "-H", f"unix://{self._sockets}/docker.sock")

    @staticmethod
    def is_installed() -> bool:
        return os.geteuid() == 0 and all(map(shutil.which, ("dockerd", "docker", "containerd")))

    async def pull(self, image: str, *, deadline: float = 120) -> str:
        """Pull `host/repository:tag`; return the digest the engine says it pulled."""
        await self.prepare()
        await run([*self._docker, "rmi", "--force", image], deadline=deadline)
        printed = await run_well([*self._docker, "pull", image], deadline=deadline)
        for line in printed.splitlines():
            if line.startswith("Digest: "):
                return line.removeprefix("Digest: ").strip()
        raise ProgramFailedError(f"docker named no digest: {printed[-500:]}")

    async def close(self) -> None:
        """Stop the engine and the containerd it started."""
        if self._process is not None and self._process.returncode is None:
            await self._end(self._process)
        shutil.rmtree(self._sockets, ignore_errors=True)

    @staticmethod
    async def _end(process: Process) -> None:
        process.terminate()
        try:
            async with asyncio.timeout(20):
                await process.wait()
        except TimeoutError:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()

    async def prepare(self) -> None:
        """Start the engine unless it runs; raise ProgramFailedError where none can run."""
        if self._process is not None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "dockerd.log").open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                "dockerd",
                *self._mirror,
                *("--iptables=false", "--ip6tables=false", "--bridge=none", "--storage-driver=vfs"),
                *(f"--data-root={self._folder}/data", f"--exec-root={self._sockets}/exec"),
                *(f"--pidfile={self._folder}/docker.pid", f"--host=unix://{self._sockets}/docker.sock"),
                stdin=DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        async with asyncio.timeout(_START_SECONDS):
            while (await run([*self._docker, "version"])).code != 0:
                if self._process.returncode is not None:
                    last = (self._folder / "dockerd.log").read_text()[-1000:]
                    raise ProgramFailedError(f"dockerd ended: {last}")
                await asyncio.sleep(0.2)
