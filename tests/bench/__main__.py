"""`make bench`: vreg, docker-registry and nginx side by side in one run, as ratios.

All three serve the same bytes from this machine to the same load. docker-registry and nginx ask for no
credential; vreg checks one on every request, as it always does. Nothing here asserts: it reports.
"""

import asyncio
import base64
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from tests.bench.load import Load, load, settle
from tests.bench.nginx import nginx
from tests.clouds.docker_registry import DockerRegistry
from tests.clouds.images import Image, make_image
from tests.clouds.images import push_to_registry as push
from tests.e2e.scene import PLACES, Scene, scene
from tests.support.ports import free_ports

_MIB = 1024 * 1024
_BLOB_BYTES = 256 * _MIB
_SECONDS = 4
_ROUNDS = 3
_WORKERS = 2
_ACCEPT = "Accept: application/vnd.oci.image.manifest.v1+json"


@dataclass(frozen=True, slots=True)
class _Peer:
    """A server under load: where it serves what, and the processes that do the work."""

    name: str
    manifest_url: str
    blob_url: str
    pids: tuple[int, ...]
    headers: tuple[str, ...] = (_ACCEPT,)


@dataclass(frozen=True, slots=True)
class _Case:
    title: str
    of_blob: bool
    connections: int
    columns: tuple[tuple[str, Callable[[Load], float]], ...]


_MANIFEST_COLUMNS = (
    ("requests/s", lambda measured: measured.requests_per_second),
    ("CPU µs/request", lambda measured: measured.cpu_microseconds_per_request),
)
_BLOB_COLUMNS = (
    ("GB/s", lambda measured: measured.gigabytes_per_second),
    ("CPU-s/GB", lambda measured: measured.cpu_seconds_per_gigabyte),
)
_CASES = (
    _Case("cached manifest, 32 connections", of_blob=False, connections=32, columns=_MANIFEST_COLUMNS),
    _Case("cached 256 MiB blob, 1 connection", of_blob=True, connections=1, columns=_BLOB_COLUMNS),
    _Case("cached 256 MiB blob, 8 connections", of_blob=True, connections=8, columns=_BLOB_COLUMNS),
)


async def _bench(console: Console) -> None:
    image = make_image("bench", _BLOB_BYTES)
    with tempfile.TemporaryDirectory(prefix="vreg-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        async with (
            scene(folder / "vreg", workers=_WORKERS) as stage,
            _peers(folder, stage, image) as peers,
        ):
            for case in _CASES:
                console.print(await _measured(case, peers))


@asynccontextmanager
async def _peers(folder: Path, stage: Scene, image: Image) -> AsyncIterator[list[_Peer]]:
    """Fill all three with the same image and warm vreg's cache."""
    (port,) = free_ports(1)
    registry = DockerRegistry(folder / "docker-registry", is_protected=False)
    registry.start()
    try:
        async with nginx(folder / "nginx", port, _WORKERS) as files:
            await push(registry, "bench", image, "v1")
            (files.files / "manifest").write_bytes(image.manifest)
            (files.files / "blob").write_bytes(image.blobs[image.layers[0]])
            await stage.set_up()
            stage.push_to_ecr(PLACES[0], image, "v1")
            async with stage.puller() as puller:
                await puller.pull(f"demo/{PLACES[0].repository}", "v1")
            yield [
                _vreg(stage, image),
                _Peer(
                    "docker-registry",
                    f"{registry.origin}/v2/bench/manifests/{image.digest}",
                    f"{registry.origin}/v2/bench/blobs/{image.layers[0]}",
                    (registry.pid,),
                ),
                _Peer("nginx", f"{files.url}/manifest", f"{files.url}/blob", (files.pid,)),
            ]
    finally:
        registry.stop()


def _vreg(stage: Scene, image: Image) -> _Peer:
    base = f"http://{stage.stack.proxy}/v2/demo/{PLACES[0].repository}"
    basic = base64.b64encode(f"vreg:{stage.token}".encode()).decode()
    return _Peer(
        "vreg",
        f"{base}/manifests/{image.digest}",
        f"{base}/blobs/{image.layers[0]}",
        tuple(stage.stack.services()["vreg_proxy"]),
        (_ACCEPT, f"Authorization: Basic {basic}"),
    )


async def _measured(case: _Case, peers: list[_Peer]) -> Table:
    """Measure every peer in turn, several rounds, and show the median of each figure."""
    rounds: dict[str, list[Load]] = {peer.name: [] for peer in peers}
    for _ in range(_ROUNDS):
        for peer in peers:
            url = peer.blob_url if case.of_blob else peer.manifest_url
            rounds[peer.name].append(
                await load(
                    url,
                    server=peer.pids,
                    connections=case.connections,
                    seconds=_SECONDS,
                    headers=peer.headers,
                )
            )
            await settle()
    return _table(case, peers, rounds)


def _table(case: _Case, peers: list[_Peer], rounds: dict[str, list[Load]]) -> Table:
    table = Table(title=f"{case.title} (median of {_ROUNDS})")
    table.add_column("")
    for title, _ in case.columns:
        table.add_column(title, justify="right")
        table.add_column("vreg is", justify="right")
    figures = {
        peer.name: [median(figure(one) for one in rounds[peer.name]) for _, figure in case.columns]
        for peer in peers
    }
    for peer in peers:
        cells = []
        for ours, theirs in zip(figures["vreg"], figures[peer.name], strict=True):
            cells += [f"{theirs:.2f}", "" if peer.name == "vreg" else f"{ours / theirs:.2f} x"]
        table.add_row(peer.name, *cells)
    return table


def main() -> None:
    """Run, or say what is missing."""
    missing = [name for name in ("wrk", "nginx", "docker-registry") if shutil.which(name) is None]
    if missing:
        sys.exit(f"bench needs {', '.join(missing)}; `make bench` installs them where it can")
    console = Console()
    console.print(f"vreg with {_WORKERS} worker processes; every figure on this machine, over loopback")
    asyncio.run(_bench(console))


if __name__ == "__main__":
    main()
