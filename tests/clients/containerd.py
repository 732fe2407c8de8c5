"""A real containerd of our own, and ctr, which pulls as a node does: by hosts.toml and the token flow."""

import asyncio
import base64
import json
import os
import shutil
import signal
from asyncio.subprocess import DEVNULL, Process
from pathlib import Path

from tests.clients.process import ProgramFailedError, run, run_well
from tests.clients.short_folder import short_folder

_START_SECONDS = 60
_CONFIGURATION = """version = 2
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.snapshotter.v1.btrfs"]
"""
"""Kubernetes' own interface wants a network set up."""


class Containerd:
    """Removes what it pulled before it pulls again, so that every pull is cold."""

    name = "containerd"

    def __init__(self, folder: Path, auth_file: Path, *, mirror: str | None = None) -> None:
        self._folder = folder
        self._auth_file = auth_file
        self._mirror = mirror
        self._sockets = short_folder("containerd")
        self._process: Process | None = None
        self._ctr = ("ctr", "--address", str(self._sockets / "containerd.sock"))

    @staticmethod
    def is_installed() -> bool:
        return os.geteuid() == 0 and all(map(shutil.which, ("containerd", "ctr")))

    async def pull(self, image: str, *, deadline: float = 120) -> str:
        """Pull `host/repository:tag`, unpacked; return the digest behind the tag."""
        await self.prepare()
        # Garbage is collected before the command returns: the next pull finds no content.
        await run([*self._ctr, "images", "rm", "--sync", image], deadline=deadline)
        await run_well(
            [
                *(*self._ctr, "images", "pull", "--snapshotter", "native"),
                *("--hosts-dir", str(self._folder / "hosts"), *self._credential(), image),
            ],
            deadline=deadline,
        )
        listed = await run_well([*self._ctr, "images", "ls", f"name=={image}"])
        return listed.splitlines()[1].split()[2]

    async def close(self) -> None:
        """Stop the daemon."""
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            try:
                async with asyncio.timeout(20):
                    await self._process.wait()
            except TimeoutError:
                os.killpg(self._process.pid, signal.SIGKILL)
                await self._process.wait()
        shutil.rmtree(self._sockets, ignore_errors=True)

    async def prepare(self) -> None:
        """Start the daemon unless it runs; raise ProgramFailedError where none can run."""
        if self._process is not None:
            return
        self._write_hosts()
        configuration = self._folder / "config.toml"
        configuration.write_text(_CONFIGURATION)
        with (self._folder / "containerd.log").open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                "containerd",
                *("--config", str(configuration), "--address", str(self._sockets / "containerd.sock")),
                *("--root", str(self._folder / "root"), "--state", str(self._sockets / "state")),
                stdin=DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        async with asyncio.timeout(_START_SECONDS):
            while (await run([*self._ctr, "version"])).code != 0:
                if self._process.returncode is not None:
                    last = (self._folder / "containerd.log").read_text()[-1000:]
                    raise ProgramFailedError(f"containerd ended: {last}")
                await asyncio.sleep(0.2)

    def _write_hosts(self) -> None:
        """Write hosts.toml as docs/clients.md shows it."""
        folder = self._folder / "hosts" / "docker.io"
        folder.mkdir(parents=True, exist_ok=True)
        if self._mirror is not None:
            (folder / "hosts.toml").write_text(
                f'server = "http://{self._mirror}"\n\n'
                f'[host."http://{self._mirror}"]\n  capabilities = ["pull", "resolve"]\n'
            )

    def _credential(self) -> tuple[str, ...]:
        """Return ctr's argument, for it reads no file; a test's token is nobody's secret."""
        registries = json.loads(self._auth_file.read_text())["auths"]
        return ("--user", base64.b64decode(next(iter(registries.values()))["auth"]).decode())
