"""A real proxy process over upstreams that stand behind toxics, and clients that note what they get.

There is no bus: what a proxy knows lies in its records on disk, as after a restart with everything else down.
"""

import asyncio
import hashlib
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import aiohttp

from tests.faults.history import History, Pull
from tests.proxy.proxy_process import Keys, ProxyProcess, proxy_process
from tests.proxy.proxy_world import ACCESS_ID, basic
from tests.support.fake_registry import FakeRegistry
from tests.support.fake_server import FakeServer, Handler, serving
from tests.support.registry_world import AUTHORITY, CA_PEM
from tests.support.toxics import ToxicProxy, toxic
from tests.support.wait import eventually
from vreg_proxy.record_files import RecordFiles
from vreg_shared.key_files import Service
from vreg_shared.messages.access import AccessRecord, hash_token, new_token
from vreg_shared.messages.record import SignedRecord, encode
from vreg_shared.messages.registry import BUCKET, MembershipRecord, RegistryRecord
from vreg_shared.messages.upstream import UpstreamRecord
from vreg_shared.oci.digest import Digest

REPOSITORY: Final = "team/app"
_CLIENT_SECONDS: Final = 120.0
_PIECE: Final = 1024 * 1024


@dataclass
class Upstream:
    """A registry that behaves, the server that may be told to answer in its place, and what is between."""

    registry: FakeRegistry
    server: FakeServer
    toxics: ToxicProxy

    def add_blob(self, content: bytes) -> str:
        """Have a blob; return its digest."""
        return str(self.registry.add_blob(REPOSITORY, content))

    def forget_blob(self, digest: str) -> None:
        """Have it no longer."""
        del self.registry.blobs[REPOSITORY, digest]

    def add_manifest(self, tag: str, content: bytes) -> str:
        """Have a manifest; return its digest."""
        return str(self.registry.add_manifest(REPOSITORY, tag, content))

    def asked(self, method: str, part: str) -> int:
        """Return how many requests of this method had `part` in their path."""
        return sum(seen.method == method and part in seen.path for seen in self.server.seen)


@dataclass
class PullPath:
    """A running proxy. The registry `main` has one upstream, `only`; others have registries of their own."""

    proxy: ProxyProcess
    cache: Path
    upstreams: Mapping[str, Upstream]
    token: str
    history: History

    @property
    def only(self) -> Upstream:
        """The upstream of `main`."""
        return self.upstreams["main"]

    def client(self, name: str = "client", slug: str = "main") -> "Client":
        """Return a client of a registry; enter it."""
        return Client(name, f"{self.proxy.url}/v2/{slug}/{REPOSITORY}", self.token, self.history)

    def processes(self) -> list[int]:
        """Return the supervisor and its workers, or the one process that is both."""
        assert self.proxy.process is not None
        return [self.proxy.process.pid, *self.proxy.workers()]

    def memory(self) -> int:
        """Return the resident bytes of all processes together."""
        return sum(_resident(pid) for pid in self.processes())

    async def kill(self) -> None:
        """Kill every process of the proxy at once."""
        pids = self.processes()
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        assert self.proxy.process is not None
        await self.proxy.process.wait()

    async def ready(self) -> Mapping[str, object]:
        """Return what /readyz says."""
        async with aiohttp.ClientSession() as session, session.get(f"{self.proxy.url}/readyz") as answer:
            said: dict[str, object] = await answer.json()
            return said


class Client:
    """Pulls and notes what came of it; raises nothing that a registry could cause."""

    def __init__(self, name: str, base: str, token: str, history: History) -> None:
        self._name = name
        self._base = base
        self._history = history
        self._session = aiohttp.ClientSession(
            headers={"Authorization": token},
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=_CLIENT_SECONDS),
            read_bufsize=_PIECE,
            auto_decompress=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def blob(self, digest: str) -> Pull:
        """Pull a blob."""
        return await self._pull(f"blobs/{digest}", digest)

    async def manifest(self, reference: str) -> Pull:
        """Pull a manifest by tag or digest."""
        return await self._pull(f"manifests/{reference}", reference)

    async def tags(self) -> Pull:
        """List the tags."""
        return await self._pull("tags/list", "tags")

    async def leave_early(self, digest: str, after: int) -> None:
        """Begin to pull a blob and hang up after so many bytes."""
        async with self._session.get(f"{self._base}/blobs/{digest}") as answer:
            left = after
            while left > 0 and (piece := await answer.content.read(left)):
                left -= len(piece)
            answer.close()

    async def _pull(self, path: str, wanted: str) -> Pull:
        began = time.monotonic()
        got = _Got(hashlib.sha256())
        try:
            async with self._session.get(f"{self._base}/{path}") as answer:
                await got.read(answer)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            got.problem = f"{type(error).__name__}: {error}"[:200]
        return self._history.note(
            Pull(
                client=self._name,
                wanted=wanted,
                began=began,
                ended=time.monotonic(),
                status=got.status,
                digest=f"sha256:{got.hasher.hexdigest()}",
                size=got.size,
                is_complete=got.is_complete,
                is_stale=got.is_stale,
                problem=got.problem,
            )
        )


@dataclass
class _Got:
    """What has arrived of one answer."""

    hasher: "hashlib._Hash"
    status: int = 0
    size: int = 0
    is_complete: bool = False
    is_stale: bool = False
    problem: str = ""
    _error: bytearray = field(default_factory=bytearray)

    async def read(self, answer: aiohttp.ClientResponse) -> None:
        self.status = answer.status
        self.is_stale = "110" in answer.headers.get("Warning", "")
        async for piece in answer.content.iter_any():
            self.hasher.update(piece)
            self.size += len(piece)
            if self.status != 200:
                self._error += piece
        self.is_complete = True
        if self.status != 200:
            self.problem = json.loads(self._error)["errors"][0]["code"]


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


@asynccontextmanager
async def upstream(handler: Handler | None = None, *, seed: int = 0) -> AsyncIterator[Upstream]:
    """Run an upstream; `handler` answers in the registry's place."""
    registry = FakeRegistry()
    async with (
        serving(handler or registry, AUTHORITY) as server,
        toxic(server.port, seed=seed) as between,
    ):
        yield Upstream(registry, server, between)


@asynccontextmanager
async def pull_path(  # noqa: PLR0913 - each is a choice of its own
    folder: Path,
    keys: Keys,
    history: History | None = None,
    *,
    others: tuple[str, ...] = (),
    workers: int = 1,
    validity: int = 0,
    cache: Path | None = None,
    **more: str,
) -> AsyncIterator[PullPath]:
    """Run a proxy whose registry `main`, and each of `others`, has an upstream of its own.

    `validity` is how many seconds a tag is trusted; `more` are settings.
    """
    token = new_token(ACCESS_ID)
    async with AsyncExitStack() as stack:
        upstreams = {slug: await stack.enter_async_context(upstream()) for slug in ("main", *others)}
        records = RecordFiles(folder / "records" / BUCKET)
        for slug, each in upstreams.items():
            _keep(records, keys, "upstream", _upstream_record(slug, each.toxics.port, validity))
            registry = RegistryRecord(id=slug, slug=slug, memberships=(MembershipRecord(upstream_id=slug),))
            _keep(records, keys, "registry", registry)
        access = AccessRecord(id=ACCESS_ID, name="t", secret_sha256=hash_token(token), role="puller")
        _keep(records, keys, "access", access)
        where = cache or folder / "cache"
        settings = {"VREG_PROXY_CACHE": str(where), "VREG_PROXY_WORKERS": str(workers)} | more
        proxy = await stack.enter_async_context(proxy_process(folder, keys, **settings))
        await eventually(lambda: proxy.log.read_text().count("worker_serving") == workers, deadline=40)
        yield PullPath(proxy, where, upstreams, basic("any", token), history or History())


def _upstream_record(slug: str, port: int, validity: int) -> UpstreamRecord:
    return UpstreamRecord(
        id=slug,
        name=slug,
        kind="oci",
        host=f"127.0.0.1:{port}",
        private_ca=CA_PEM,
        tag_validity_seconds=validity,
    )


def _keep(
    files: RecordFiles, keys: Keys, noun: str, record: RegistryRecord | UpstreamRecord | AccessRecord
) -> None:
    """Write a record as a worker keeps it that had it from the bus."""
    signed = SignedRecord(f"{noun}.{record.id}", 1, deleted=False, body=record.model_dump_json())
    files.keep(signed.key, 1, encode(signed, keys.signing[Service.API], BUCKET))


async def together(count: int, *clients: "Client", digest: str) -> list[Pull]:
    """Let `count` pulls of one blob begin at the same moment, spread over the clients."""
    barrier = asyncio.Barrier(count)

    async def one(client: Client) -> Pull:
        await barrier.wait()
        return await client.blob(digest)

    return await asyncio.gather(*(one(clients[number % len(clients)]) for number in range(count)))


def digest_of(content: bytes) -> str:
    """Return the digest."""
    return str(Digest.of(content))


def committed(cache: Path) -> list[Path]:
    """Return every file of a cache that stands under a digest's name."""
    return [path for path in (cache / "content").rglob("*") if path.is_file()]


def wrongly_committed(cache: Path) -> list[str]:
    """Hash a whole cache; return the names of the files whose bytes are not those of their name."""
    return [
        path.name
        for path in committed(cache)
        if hashlib.new(path.parent.parent.name, path.read_bytes()).hexdigest() != path.name
    ]


def half_written(cache: Path) -> int:
    """Return how many bytes lie in a cache's files that are not committed."""
    return sum(path.stat().st_size for path in (cache / "filling").glob("*.[pt]*"))
