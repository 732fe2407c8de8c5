"""`python -m vreg_proxy` as a process, with keys and folders of its own."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.support.ports import free_ports
from tests.support.wait import eventually
from vreg_proxy.record_files import RecordFiles
from vreg_shared.key_files import KeyFolder, PublicKeyFolder, Service
from vreg_shared.messages import access, lease
from vreg_shared.messages.access import AccessRecord
from vreg_shared.messages.record import SignedRecord, encode
from vreg_shared.messages.registry import RegistryRecord
from vreg_shared.messages.upstream import UpstreamRecord
from vreg_shared.sealing import SealingKey
from vreg_shared.secret import Secret
from vreg_shared.signing import SigningKey

Record = RegistryRecord | UpstreamRecord | AccessRecord
NO_BUS = "nats://127.0.0.1:9"


@dataclass(frozen=True)
class Keys:
    """Everybody's keys, in files as `vreg up` lays them out."""

    home: Path
    signing: Mapping[Service, SigningKey]
    sealing: Mapping[Service, SealingKey]

    @classmethod
    def make(cls, home: Path, seeds: Mapping[Service, Secret]) -> "Keys":
        keys = cls(
            home,
            {service: SigningKey.generate() for service in Service},
            {service: SealingKey.generate() for service in Service},
        )
        public = PublicKeyFolder(home / "public")
        public.path.mkdir(parents=True)
        for service in Service:
            own = KeyFolder(home / service.value)
            own.path.mkdir(mode=0o700)
            own.signing_key_path.write_bytes(keys.signing[service].to_pem())
            own.sealing_key_path.write_bytes(keys.sealing[service].to_pem())
            own.nkey_path.write_text(seeds[service].reveal())
            public.signing_path(service).write_bytes(keys.signing[service].verifying.to_pem())
            public.sealing_path(service).write_bytes(keys.sealing[service].public.to_pem())
        return keys


@dataclass
class ProxyProcess:
    """One supervisor and its workers."""

    environment: dict[str, str]
    log: Path
    port: int
    scheme: str = "http"
    process: asyncio.subprocess.Process | None = field(default=None)

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Start it and return once it is ready."""
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "vreg_proxy", env=self.environment, stdout=log, stderr=log
            )
        await eventually(self._is_ready, deadline=40)

    async def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        assert self.process is not None
        with suppress(ProcessLookupError):
            self.process.send_signal(number)
        return await self.process.wait()

    def workers(self) -> list[int]:
        """Return the processes started by the supervisor that run workers."""
        assert self.process is not None
        return [pid for pid in _children(self.process.pid) if b"spawn_main" in _command(pid)]

    async def _is_ready(self) -> bool:
        assert self.process is not None
        assert self.process.returncode is None, self.log.read_text()[-3000:]
        with suppress(httpx.TransportError):
            async with httpx.AsyncClient(verify=False) as client:  # noqa: S501 - a certificate made for the test
                return (await client.get(f"{self.url}/readyz")).status_code == 200
        return False


def _children(parent: int) -> list[int]:
    with suppress(OSError):
        return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]
    return []


def _command(pid: int) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def is_alive(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    return False


def environment(home: Path, keys: Keys, nats_url: str, port: int, **more: str) -> dict[str, str]:
    """Return the settings of a proxy that may reach loopback."""
    return {
        "PATH": os.environ["PATH"],
        "VREG_NATS_URL": nats_url,
        "VREG_KEYS": str(keys.home / "proxy"),
        "VREG_PUBLIC_KEYS": str(keys.home / "public"),
        "VREG_PROXY_LISTEN": f"127.0.0.1:{port}",
        "VREG_PROXY_STATE": str(home / "records"),
        "VREG_PROXY_CACHE": str(home / "cache"),
        "VREG_EGRESS_ALLOWED_CIDRS": "127.0.0.0/8",
        **more,
    }


def was_here_before(home: Path, keys: Keys, records: Iterable[tuple[str, Record]] = ()) -> None:
    """Leave in a proxy's folder what one leaves that found just this on the bus."""
    for noun, record in records:
        signed = SignedRecord(f"{noun}.{record.id}", 1, deleted=False, body=record.model_dump_json())
        raw = encode(signed, keys.signing[Service.API], access.BUCKET)
        RecordFiles(home / "records" / access.BUCKET).keep(signed.key, 1, raw)
    for bucket in (access.BUCKET, lease.BUCKET):
        RecordFiles(home / "records" / bucket).mark_whole()


@asynccontextmanager
async def proxy_process(
    home: Path, keys: Keys, nats_url: str = NO_BUS, **more: str
) -> AsyncIterator[ProxyProcess]:
    """Run a proxy and leave no process behind. One without a bus is one that was here before."""
    (port,) = free_ports(1)
    if nats_url == NO_BUS:
        was_here_before(home, keys)
    scheme = "https" if "VREG_PROXY_TLS_CERTIFICATE" in more else "http"
    proxy = ProxyProcess(environment(home, keys, nats_url, port, **more), home / "proxy.log", port, scheme)
    workers: list[int] = []
    try:
        await proxy.start()
        workers = proxy.workers()
        yield proxy
    finally:
        workers += proxy.workers() if proxy.process is not None else []
        if proxy.process is not None and proxy.process.returncode is None:
            await proxy.end(signal.SIGKILL)
        for pid in workers:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
