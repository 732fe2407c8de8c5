"""A private PostgreSQL server: its own cluster, its own port, and nothing left when it ends."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg

_PASSWORD = "canary-database-password"
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "60",
    "shared_buffers": "16MB",
}


class PostgresMissingError(Exception):
    """There is no PostgreSQL server program on this machine."""


@dataclass(frozen=True, slots=True)
class PostgresServer:
    """A server that can be stopped as hard as a power cut and started again."""

    programs: Path
    folder: Path
    port: int

    def url(self, database: str) -> str:
        return f"postgresql://vreg:{_PASSWORD}@127.0.0.1:{self.port}/{database}"

    async def create_database(self) -> str:
        """Make an empty database and return its address."""
        name = f"vreg_{uuid.uuid4().hex[:12]}"
        connection = await asyncpg.connect(self.url("postgres"))
        try:
            await connection.execute(f"CREATE DATABASE {name}")
        finally:
            await connection.close()
        return self.url(name)

    def start(self) -> None:
        options = " ".join(f"-c {name}={value}" for name, value in _SETTINGS.items())
        self._control(
            "start", "-w", "-l", str(self.folder / "log"), "-o", f"{options} -p {self.port} -k {self.folder}"
        )

    def stop(self) -> None:
        """End it at once, as if it had been killed."""
        self._control("stop", "-w", "-m", "immediate")

    def initialise(self) -> None:
        password_file = self.folder / "password"
        password_file.write_text(_PASSWORD)
        password_file.chmod(0o644)
        arguments = ["-D", str(self.folder / "cluster"), "-U", "vreg", f"--pwfile={password_file}"]
        _run([str(self.programs / "initdb"), *arguments, "--auth=scram-sha-256", "-N", "-E", "UTF8"])

    def _control(self, *arguments: str) -> None:
        _run([str(self.programs / "pg_ctl"), "-D", str(self.folder / "cluster"), *arguments])


@contextmanager
def running_postgres() -> Iterator[PostgresServer]:
    """Run a server; raise PostgresMissingError."""
    # Not below pytest's folder: the server's user may not look into that.
    folder = Path(tempfile.mkdtemp(prefix="vreg-postgres-"))
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres")
    server = PostgresServer(_programs(), folder, _free_port())
    try:
        server.initialise()
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _programs() -> Path:
    found = shutil.which("pg_ctl")
    folders = [Path(found).parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for folder in folders:
        if (folder / "initdb").exists():
            return folder
    raise PostgresMissingError("install Debian's `postgresql` to run these tests")


def _run(command: list[str]) -> None:
    """Run a program as a user that PostgreSQL accepts: never root."""
    user = pwd.getpwnam("postgres").pw_uid if os.geteuid() == 0 else None
    subprocess.run(  # noqa: S603 - programs found above
        command, user=user, check=True, timeout=60, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
