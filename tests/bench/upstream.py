"""An upstream over TLS that says what it sent: docker-registry on another registry's storage."""

import asyncio
import hashlib
import json
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import trustme

from tests.support.ports import free_ports
from tests.support.wait import eventually

REPOSITORY = "bench"
_SENT = re.compile(r'"GET /v2/\S+/blobs/(\S+) HTTP/1\.1" 20[06] (\d+) ')


@dataclass(frozen=True, slots=True)
class Certificate:
    """Files of a certificate for localhost, its key, and the authority to trust."""

    chain: Path
    key: Path
    ca: Path

    @classmethod
    def make(cls, folder: Path) -> "Certificate":
        """Write the files."""
        folder.mkdir(parents=True, exist_ok=True)
        authority = trustme.CA()
        issued = authority.issue_cert("localhost", "127.0.0.1")
        made = cls(folder / "chain.pem", folder / "key.pem", folder / "ca.pem")
        made.chain.write_bytes(b"".join(part.bytes() for part in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(str(made.key))
        authority.cert_pem.write_to_path(str(made.ca))
        return made


@dataclass(frozen=True, slots=True)
class TlsRegistry:
    """Running; `host` is its name with port."""

    host: str
    pid: int
    log: Path

    def blob_url(self, digest: str) -> str:
        """Where a client pulls a blob directly."""
        return f"https://{self.host}/v2/{REPOSITORY}/blobs/{digest}"

    def sent(self, digest: str) -> int:
        """Return the bytes of a blob's bodies sent so far."""
        return sum(int(found[2]) for found in _SENT.finditer(self.log.read_text()) if found[1] == digest)


@asynccontextmanager
async def tls_registry(folder: Path, storage: Path, certificate: Certificate) -> AsyncIterator[TlsRegistry]:
    """Run docker-registry over TLS, with its access log, on the storage of another one."""
    folder.mkdir(parents=True)
    (port,) = free_ports(1)
    configuration = {
        "version": "0.1",
        "log": {"level": "error"},
        "storage": {"filesystem": {"rootdirectory": str(storage)}},
        "http": {
            "addr": f"127.0.0.1:{port}",
            "tls": {"certificate": str(certificate.chain), "key": str(certificate.key)},
        },
    }
    (folder / "config.yml").write_text(json.dumps(configuration))  # JSON is YAML
    with (folder / "registry.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            "docker-registry", "serve", str(folder / "config.yml"), stdout=log, stderr=log
        )
    try:
        running = TlsRegistry(f"localhost:{port}", process.pid, folder / "registry.log")
        await eventually(lambda: _answers(running, certificate), deadline=20)
        yield running
    finally:
        process.terminate()
        await process.wait()


async def _answers(registry: TlsRegistry, certificate: Certificate) -> bool:
    async with httpx.AsyncClient(trust_env=False, verify=str(certificate.ca)) as client:
        try:
            return (await client.get(f"https://{registry.host}/v2/")).is_success
        except httpx.TransportError:
            return False


async def push_blob(origin: str, size: int) -> str:
    """Push random bytes that nobody has seen; return their digest."""
    content = os.urandom(size)
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    async with httpx.AsyncClient(base_url=origin, trust_env=False, timeout=60) as client:
        begun = (await client.post(f"/v2/{REPOSITORY}/blobs/uploads/")).raise_for_status()
        upload = httpx.URL(begun.headers["Location"]).copy_merge_params({"digest": digest})
        kind = {"Content-Type": "application/octet-stream"}
        (await client.put(upload.raw_path.decode(), content=content, headers=kind)).raise_for_status()
    return digest
