"""A whole vreg on this machine: `vreg up` in a folder of its own, and an administrator who drives its API."""

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import httpx

from tests.support.ports import free_ports
from tests.support.wait import eventually
from vreg_cli.environment import Addresses, service_environment
from vreg_cli.home import Home
from vreg_shared.key_files import Service
from vreg_shared.settings import Listen

_TOKEN = re.compile(r"vreg_[0-9A-Z]{26}_[A-Za-z0-9_-]{43}")
_START_SECONDS = 180.0
_STOP_SECONDS = 120.0
_PASSED_ON = ("PATH", "HOME", "LANG", "TMPDIR")


class StackFailedError(Exception):
    """vreg did not do what a test needs before it can start; the text holds its last words."""


class Stack:
    """A running vreg. `proxy` is the host and port that clients pull from."""

    def __init__(self, home: Path, environment: Mapping[str, str], workers: int) -> None:
        self.home = home
        self.proxy_port, self.api_port, self.nats_port, self.metrics_port = free_ports(4)
        self.proxy = f"127.0.0.1:{self.proxy_port}"
        self.admin_token = ""
        self._workers = workers
        self._environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        self._environment |= environment
        self._output = home.with_name(home.name + ".out")
        self._process: asyncio.subprocess.Process | None = None
        self._api: httpx.AsyncClient | None = None

    @property
    def _ports(self) -> tuple[int, ...]:
        return self.proxy_port, self.api_port, self.nats_port, self.metrics_port

    @property
    def pid(self) -> int:
        """The process id of `vreg up`."""
        assert self._process is not None
        return self._process.pid

    @property
    def output(self) -> str:
        """Everything `vreg up` has printed so far."""
        return self._output.read_text() if self._output.exists() else ""

    async def start(self) -> Self:
        """Run `vreg up` and wait until api and proxy answer."""
        command = [
            *(str(Path(sys.executable).with_name("vreg")), "up", "--home", str(self.home)),
            *("--proxy-listen", self.proxy, "--api-listen", f"127.0.0.1:{self.api_port}"),
            *("--nats-port", str(self.nats_port), "--workers", str(self._workers)),
            *("--metrics-listen", f"127.0.0.1:{self.metrics_port}"),
        ]
        with self._output.open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=self._environment,
            )
        await eventually(self.is_ready, deadline=_START_SECONDS)
        token = _TOKEN.search(self.output)
        if token is not None:
            self.admin_token = token[0]
        self._api = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{self.api_port}/api/v1",
            headers={"Authorization": f"Bearer {self.admin_token}"},
            trust_env=False,
        )
        return self

    async def stop(self) -> int:
        """Ask `vreg up` to end as a person would; return its exit code."""
        if self._api is not None:
            await self._api.aclose()
        if self._process is None:
            return 0
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGINT)
        async with asyncio.timeout(_STOP_SECONDS):
            return await self._process.wait()

    async def is_ready(self) -> bool:
        """Whether api and proxy answer; raise StackFailedError if `vreg up` has ended."""
        if self._process is None or self._process.returncode is not None:
            raise StackFailedError(self.output[-3000:])
        return await _is_ready(self.api_port) and await _is_ready(self.proxy_port)

    async def call(
        self,
        method: str,
        path: str,
        *,
        json: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """Call the API as the administrator."""
        assert self._api is not None
        return await self._api.request(method, path, json=json, headers=headers)

    async def create(self, noun: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Create one of `noun`; raise StackFailedError unless it was created."""
        answer = await self.call("POST", f"/{noun}", json=body)
        if answer.status_code != httpx.codes.CREATED:
            raise StackFailedError(f"{noun}: {answer.status_code} {answer.text[:1000]}")
        created: dict[str, Any] = answer.json()
        return created

    @asynccontextmanager
    async def another_broker(self, name: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """Run one more token-broker beside `vreg up`'s own, with the same keys and its own state."""
        own = {"VREG_BROKER_ID": name, "VREG_BROKER_STATE": str(self.broker_state(name))}
        async with self._another(Service.TOKEN_BROKER, name, own) as running:
            yield running

    @asynccontextmanager
    async def another_proxy(self, name: str) -> AsyncIterator[str]:
        """Run one more proxy beside `vreg up`'s own, with its own cache; yields where clients find it."""
        (port, metrics_port), folder = free_ports(2), self.home.with_name(name)
        address = f"127.0.0.1:{port}"
        own = {
            "VREG_PROXY_LISTEN": address,
            "VREG_PROXY_METRICS_LISTEN": f"127.0.0.1:{metrics_port}",
            "VREG_PROXY_STATE": str(folder / "records"),
            "VREG_PROXY_CACHE": str(folder / "cache"),
        }
        async with self._another(Service.PROXY, name, own):
            await eventually(lambda: _is_ready(port), deadline=_START_SECONDS)
            yield address

    @asynccontextmanager
    async def _another(
        self, service: Service, name: str, own: Mapping[str, str]
    ) -> AsyncIterator[asyncio.subprocess.Process]:
        """Run one more of a service while the block runs; its log lies beside our home."""
        addresses = Addresses(*(Listen(f"127.0.0.1:{port}") for port in self._ports))
        environment = service_environment(
            service, Home(self.home), addresses, self._workers, self._environment
        )
        module = f"vreg_{service.value.replace('-', '_')}"
        with self.home.with_name(f"{name}.log").open("ab") as output:
            running = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", module), stdout=output, stderr=output, env=environment | own
            )
        try:
            yield running
        finally:
            if running.returncode is None:
                running.terminate()
            async with asyncio.timeout(_STOP_SECONDS):
                await running.wait()

    def broker_state(self, name: str = "") -> Path:
        """Return the state folder of `vreg up`'s own broker, or of another by its name."""
        return self.home.with_name(name) if name else Home(self.home).broker_state

    def journalled(self, *names: str) -> list[dict[str, Any]]:
        """Return every event in the journals of our own broker and of these others."""
        folders = [self.broker_state(name) / "journal" for name in ("", *names)]
        files = [file for folder in folders for file in sorted(folder.glob("journal-*.ndjson"))]
        lines = [line for file in files for line in file.read_text().splitlines(keepends=True)]
        return [json.loads(line) for line in lines if line.endswith("\n")]  # the last may be half written

    def services(self) -> dict[str, list[int]]:
        """Return the process ids of each service, its workers included, by the module it runs."""
        children, found = _children(), {}
        for pid in children.get(self.pid, ()):
            for name in ("vreg_api", "vreg_token_broker", "vreg_proxy", "nats-server"):
                if any(part.endswith(name) for part in _command(pid)):
                    found[name] = [pid, *_descendants(pid, children)]
        return found


@asynccontextmanager
async def stack(
    folder: Path, *, environment: Mapping[str, str] | None = None, workers: int = 2
) -> AsyncIterator[Stack]:
    """Run vreg below `folder` while the block runs."""
    running = Stack(folder / "home", environment or {}, workers)
    try:
        await running.start()
        yield running
    finally:
        await running.stop()


async def _is_ready(port: int) -> bool:
    """Whether the service on this port says it is ready."""
    async with httpx.AsyncClient(trust_env=False) as client:
        try:
            answer = await client.get(f"http://127.0.0.1:{port}/readyz")
        except httpx.TransportError:
            return False
    return answer.status_code == httpx.codes.OK


def _children() -> dict[int, list[int]]:
    """Return the children of every process there is."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue  # it ended while we looked
            children.setdefault(parent, []).append(int(entry.name))
    return children


def _descendants(pid: int, children: Mapping[int, Sequence[int]]) -> list[int]:
    below = children.get(pid, ())
    return [*below, *(deeper for child in below for deeper in _descendants(child, children))]


def _command(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []
