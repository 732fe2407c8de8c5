"""The real thing: Debian's docker-registry on loopback, open to everybody or behind htpasswd."""

import json
import shutil
import subprocess
import time
from pathlib import Path

import httpx

from tests.support.ports import free_ports

_PROGRAM = "docker-registry"
_START_SECONDS = 20.0
_STOP_SECONDS = 10.0

USERNAME = "robot$team+puller"
PASSWORD = "correct: horse/battery+staple"
# htpasswd -niB; made once, so that no program is needed for it.
_HTPASSWD = "robot$team+puller:$2y$05$SqIjK5EXmLwsPmomXNkNnuENAXByjmvh7gH4zKCVTTzGHXOta43M2\n"


class RegistryFailedError(Exception):
    """docker-registry did not start; the text holds its last words."""


class DockerRegistry:
    """One docker-registry with storage below `folder`. Blocking: call `start` and `stop` off the loop.

    With `is_protected` it wants USERNAME and PASSWORD, for everything, and challenges Basic.
    """

    def __init__(self, folder: Path, *, is_protected: bool = False) -> None:
        self._folder = folder
        self._is_protected = is_protected
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    @staticmethod
    def is_installed() -> bool:
        """Whether the machine has the program."""
        return shutil.which(_PROGRAM) is not None

    @property
    def origin(self) -> str:
        """The address on loopback, in clear."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def auth(self) -> tuple[str, str] | None:
        """User name and password, if it wants them."""
        return (USERNAME, PASSWORD) if self._is_protected else None

    @property
    def pid(self) -> int:
        """The process id of the running program."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Run it and wait until it answers; a second start keeps port and content."""
        self._folder.mkdir(parents=True, exist_ok=True)
        if self.port == 0:
            (self.port,) = free_ports(1)
        configuration = self._folder / "config.yml"
        configuration.write_text(json.dumps(self._configuration()))  # JSON is YAML
        with (self._folder / "registry.log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 -- a program of ours with our own file
                [_PROGRAM, "serve", str(configuration)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self._wait()

    def stop(self) -> None:
        """Ask it to end, and make it."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _wait(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                httpx.get(f"{self.origin}/v2/", trust_env=False, timeout=5)
            except httpx.TransportError:
                time.sleep(0.02)
            else:
                return
        self.stop()
        raise RegistryFailedError((self._folder / "registry.log").read_text()[-2000:])

    def _configuration(self) -> dict[str, object]:
        configuration: dict[str, object] = {
            "version": "0.1",
            "log": {"level": "warn", "accesslog": {"disabled": True}},
            "storage": {
                "filesystem": {"rootdirectory": str(self._folder / "storage")},
                "delete": {"enabled": True},
            },
            "http": {"addr": f"127.0.0.1:{self.port}"},
        }
        if self._is_protected:
            users = self._folder / "htpasswd"
            users.write_text(_HTPASSWD)
            configuration["auth"] = {"htpasswd": {"realm": "vreg tests", "path": str(users)}}
        return configuration
