"""What is cached already, under load: vreg checks a credential on every request, its peers ask for none."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from statistics import median

from tests.bench.curl import download
from tests.bench.figures import Figure
from tests.bench.ground import ACCEPT, BLOB_BYTES, Ground
from tests.bench.load import Load, load, settle
from tests.bench.upstream import REPOSITORY

_ROUNDS = 3
_SECONDS = 3


@dataclass(frozen=True, slots=True)
class _Peer:
    """A server under load, and the processes that do the work."""

    name: str
    url: str
    pids: Sequence[int]
    headers: tuple[str, ...] = (ACCEPT,)


async def manifest(ground: Ground) -> AsyncIterator[Figure]:
    """A manifest by its digest."""
    for figure in await _manifest(_peers(ground, f"manifests/{ground.image.digest}", "manifest")):
        yield figure


async def blobs(ground: Ground) -> AsyncIterator[Figure]:
    """A large blob, plain and over TLS, each worker having proved it once."""
    for tls in (False, True):
        peers = _peers(ground, f"blobs/{ground.blob}", "blob", tls=tls)
        for _ in range(4):
            await download(peers[0].url, BLOB_BYTES, headers=peers[0].headers, ca=ground.certificate.ca)
        for connections in (1, 8):
            for figure in await _blob(peers, connections, "TLS" if tls else "plain"):
                yield figure


def _peers(ground: Ground, path: str, file: str, *, tls: bool = False) -> list[_Peer]:
    """Return vreg first; docker-registry and nginx serve the same bytes."""
    ours = [ground.tls_proxy[1]] if tls else ground.stack.services()["vreg_proxy"]
    registry = f"https://{ground.upstream.host}" if tls else ground.registry.origin
    return [
        _Peer("vreg", ground.url(path, tls=tls), ours, (ACCEPT, ground.authorization)),
        _Peer(
            "docker-registry",
            f"{registry}/v2/{REPOSITORY}/{path}",
            [ground.upstream.pid if tls else ground.registry.pid],
        ),
        _Peer(
            "nginx",
            f"{ground.files.tls_url if tls else ground.files.url}/{file}",
            [ground.files.pid],
        ),
    ]


async def _manifest(peers: list[_Peer]) -> list[Figure]:
    case = "cached manifest, 32 connections"
    loads = await _measured(peers, 32)
    rate, registry_rate, nginx_rate = _medians(loads, lambda each: each.requests_per_second)
    cpu, registry_cpu, nginx_cpu = _medians(loads, lambda each: each.cpu_microseconds_per_request)
    return [
        Figure(case, "requests/s", rate, "docker-registry", registry_rate, (">=", 4)),
        Figure(case, "requests/s", rate, "nginx", nginx_rate),
        Figure(case, "CPU µs/request", cpu, "docker-registry", registry_cpu),
        Figure(case, "CPU µs/request", cpu, "nginx", nginx_cpu, ("<=", 3)),
    ]


async def _blob(peers: list[_Peer], connections: int, how: str) -> list[Figure]:
    case = f"cached 256 MiB blob, {connections} connection{'s' * (connections > 1)}, {how}"
    loads = await _measured(peers, connections)
    rate, registry_rate, _ = _medians(loads, lambda each: each.gigabytes_per_second)
    cpu, registry_cpu, nginx_cpu = _medians(loads, lambda each: each.cpu_seconds_per_gigabyte)
    return [
        Figure(case, "GB/s", rate, "docker-registry", registry_rate, (">=", 1)),
        Figure(case, "CPU-s/GB", cpu, "docker-registry", registry_cpu, ("<=", 1)),
        Figure(case, "CPU-s/GB", cpu, "nginx", nginx_cpu),
    ]


def _medians(measured: list[list[Load]], figure: Callable[[Load], float]) -> list[float]:
    """Return a figure of each peer."""
    return [median(figure(each) for each in loads) for loads in measured]


async def _measured(peers: list[_Peer], connections: int) -> list[list[Load]]:
    """Measure every peer in turn, several rounds."""
    rounds: list[list[Load]] = [[] for _ in peers]
    for _ in range(_ROUNDS):
        for peer, loads in zip(peers, rounds, strict=True):
            loads.append(
                await load(
                    peer.url,
                    server=peer.pids,
                    connections=connections,
                    seconds=_SECONDS,
                    headers=peer.headers,
                )
            )
            await settle()
    return rounds
