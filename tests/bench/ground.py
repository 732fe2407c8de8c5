"""Everybody who is measured, on one machine: vreg over plain HTTP and TLS, docker-registry, nginx."""

import asyncio
import base64
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.bench.far_away import Wire, wire_to
from tests.bench.nginx import Nginx, nginx
from tests.bench.upstream import REPOSITORY, Certificate, TlsRegistry, push_blob, tls_registry
from tests.clouds.clouds import Clouds, clouds
from tests.clouds.docker_registry import DockerRegistry
from tests.clouds.images import MANIFEST, Image, make_image, push_to_registry
from tests.e2e.admin import Admin
from tests.e2e.stack import Stack, stack
from tests.support.ports import free_ports
from tests.support.wait import eventually
from vreg_cli.environment import Addresses, service_environment
from vreg_cli.home import Home
from vreg_shared.key_files import Service
from vreg_shared.settings import Listen

WORKERS = 2
MIB = 1024 * 1024
BLOB_BYTES = 256 * MIB
ACCEPT = f"Accept: {MANIFEST}"
FAR_HOST = "ghcr.io"
SLUG, FAR_SLUG, GIGABIT_SLUG = "bench", "far", "gigabit"


@dataclass(frozen=True, slots=True)
class Ground:
    """Running, filled with `image` and `blob`, and vreg set up to pull from `upstream` and from far away."""

    stack: Stack
    token: str
    tls_proxy: tuple[str, int]
    """Address and process id."""
    registry: DockerRegistry
    storage: Path
    upstream: TlsRegistry
    certificate: Certificate
    files: Nginx
    clouds: Clouds
    wire: Wire
    image: Image
    blob: str

    @property
    def authorization(self) -> str:
        """The header every request to vreg carries."""
        return "Authorization: Basic " + base64.b64encode(f"vreg:{self.token}".encode()).decode()

    @property
    def workers(self) -> list[int]:
        """The worker processes of the plain proxy."""
        _supervisor, *below = self.stack.services()["vreg_proxy"]
        return below

    def url(self, path: str, *, tls: bool = False, slug: str = SLUG) -> str:
        """Where vreg serves what the upstream has at this path."""
        base = f"https://{self.tls_proxy[0]}" if tls else f"http://{self.stack.proxy}"
        return f"{base}/v2/{slug}/{REPOSITORY}/{path}"

    async def new_blob_at_a_gigabit(self) -> str:
        """Give an upstream that sends 125 MB/s a blob that vreg has not seen."""
        blob = await self.new_blob()
        path = self.files.files / "v2" / REPOSITORY / "blobs" / blob
        path.parent.mkdir(parents=True, exist_ok=True)
        _link_blob(self.storage, blob, path)
        return blob

    async def new_blob(self, size: int = BLOB_BYTES) -> str:
        """Give the upstream a blob that vreg has not seen."""
        return await push_blob(self.registry.origin, size)


@asynccontextmanager
async def ground(folder: Path) -> AsyncIterator[Ground]:
    """Start all of it below `folder`."""
    certificate = Certificate.make(folder / "certificate")
    image = make_image("bench")
    async with AsyncExitStack() as opened:
        world = await opened.enter_async_context(clouds(folder / "clouds", is_separate=True))
        gateway = httpx.URL(world.gateway_url)
        wire = await opened.enter_async_context(wire_to(gateway.host, gateway.port or 0))
        settings = {
            **world.environment,
            "HTTPS_PROXY": f"http://127.0.0.1:{wire.port}",
            "VREG_EGRESS_ALLOWED_NAMES": "*.example.test",
            "VREG_EGRESS_ALLOWED_CIDRS": "127.0.0.0/8",
        }
        registry = DockerRegistry(folder / "docker-registry")
        storage = folder / "docker-registry" / "storage"
        registry.start()
        opened.callback(registry.stop)
        await push_to_registry(registry, REPOSITORY, image, "v1")
        blob = await push_blob(registry.origin, BLOB_BYTES)
        upstream = await opened.enter_async_context(tls_registry(folder / "upstream", storage, certificate))
        files = await opened.enter_async_context(nginx(folder / "nginx", WORKERS, certificate))
        (files.files / "manifest").write_bytes(image.manifest)
        _link_blob(storage, blob, files.files / "blob")
        vreg = await opened.enter_async_context(stack(folder, environment=settings, workers=WORKERS))
        token = await _set_up(vreg, upstream, files, certificate)
        tls_proxy = await opened.enter_async_context(_tls_proxy(vreg, folder / "tls", certificate, settings))
        yield Ground(
            vreg, token, tls_proxy, registry, storage, upstream, certificate, files, world, wire, image, blob
        )


def _link_blob(storage: Path, digest: str, path: Path) -> None:
    """Let nginx serve the very file that docker-registry serves."""
    algorithm, _, name = digest.partition(":")
    path.hardlink_to(storage / "docker/registry/v2/blobs" / algorithm / name[:2] / name / "data")
    path.chmod(0o644)


async def _set_up(vreg: Stack, upstream: TlsRegistry, files: Nginx, certificate: Certificate) -> str:
    admin = Admin(vreg)
    for slug, host in ((SLUG, upstream.host), (GIGABIT_SLUG, files.tls_url.removeprefix("https://"))):
        near = await admin.upstream(slug, "oci", host, private_ca=certificate.ca.read_text())
        await admin.registry(slug, [near])
    far = await admin.upstream("far", "oci", FAR_HOST, tag_validity_seconds=0)
    await admin.registry(FAR_SLUG, [far])
    _, token = await admin.access_token("client")
    return token


@asynccontextmanager
async def _tls_proxy(
    vreg: Stack, folder: Path, certificate: Certificate, settings: Mapping[str, str]
) -> AsyncIterator[tuple[str, int]]:
    """Run a proxy beside vreg's own that serves TLS from a cache of its own."""
    port, metrics_port = free_ports(2)
    ports = (port, vreg.api_port, vreg.nats_port, metrics_port)
    addresses = Addresses(*(Listen(f"127.0.0.1:{each}") for each in ports))
    environment = {
        **service_environment(
            Service.PROXY, Home(vreg.home), addresses, WORKERS, {"PATH": os.environ["PATH"], **settings}
        ),
        "VREG_PROXY_STATE": str(folder / "records"),
        "VREG_PROXY_CACHE": str(folder / "cache"),
        "VREG_PROXY_TLS_CERTIFICATE": str(certificate.chain),
        "VREG_PROXY_TLS_KEY": str(certificate.key),
    }
    folder.mkdir()
    with (folder / "proxy.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "vreg_proxy"), env=environment, stdout=log, stderr=log
        )
    try:
        address = f"127.0.0.1:{port}"
        await eventually(lambda: _is_ready(address, certificate), deadline=60)
        yield address, process.pid
    finally:
        process.terminate()
        await process.wait()


async def _is_ready(address: str, certificate: Certificate) -> bool:
    async with httpx.AsyncClient(trust_env=False, verify=str(certificate.ca)) as client:
        try:
            return (await client.get(f"https://{address}/readyz")).is_success
        except httpx.TransportError:
            return False
