"""What each route of `/v2/` does for a client that was let in."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final, Protocol

from vreg_proxy.access_log import NotesPulls, Pulled
from vreg_proxy.cache import Hit
from vreg_proxy.config_cache import Snapshot
from vreg_proxy.distribution.hot_manifests import HotManifests
from vreg_proxy.distribution.paging import repositories_page, tags_page
from vreg_proxy.distribution.paths import BlobPath, ManifestPath, Place, ReferrersPath, TagsPath
from vreg_proxy.distribution.problems import problem_of
from vreg_proxy.distribution.ranges import Part, Unsatisfiable, requested_part
from vreg_proxy.distribution.referrers_replies import artifact_type_of, referrers_reply
from vreg_proxy.distribution.replies import API_VERSION, Headers, Problem, Receive, Reply, Send, json_reply
from vreg_proxy.distribution.sending import send_body
from vreg_proxy.holdings import HeldBlob, MemoryUnreadableError, Servers
from vreg_proxy.manifests import Served
from vreg_proxy.referrers import Listed
from vreg_proxy.repositories import Repositories
from vreg_proxy.resolution import Candidate, Obstacle, candidates
from vreg_proxy.sources import Sources, TagFound
from vreg_proxy.staleness import Staleness
from vreg_proxy.tags import TagList
from vreg_proxy.walk import Found, Nowhere, Stopped
from vreg_shared.catalogue import Catalogue
from vreg_shared.messages.registry import RegistryRecord
from vreg_shared.oci.digest import Digest
from vreg_shared.oci.errors import OciError
from vreg_shared.oci.reference import Reference, Tag
from vreg_shared.provider import Answer, Verdict
from vreg_shared.registry_client import BlobInterruptedError

HOT_SECONDS: Final = 600.0
"""How long a manifest is served from memory before the cache hears of it again: used means not evicted."""
STALE: Final = (b"warning", b'110 vreg "Response is Stale"')
_UNREADABLE: Final = Problem(OciError.UNAVAILABLE, "cache_index_unreadable", retry_after=5.0)
_SOURCE_CHANGED: Final = Problem(
    OciError.DENIED,
    "source_changed",
    message="this repository would come from another upstream than so far; an editor lets it move by "
    "denying it in the earlier upstream's membership, or by setting on_source_change to allow",
)
_BYTES: Final = (b"content-type", b"application/octet-stream")
_ACCEPTS_RANGES: Final = (b"accept-ranges", b"bytes")
Candidates = Sequence[Candidate | Obstacle]


class FindsManifests(Protocol):
    """Who pulls manifests."""

    async def pull(self, candidates: Candidates, reference: Reference) -> Served | Stopped | Nowhere:
        """Return the manifest, or where the walk ended."""
        ...


class FindsBlobs(Protocol):
    """Who pulls blobs."""

    async def size(self, candidates: Candidates, digest: Digest) -> Found[int] | Stopped | Nowhere:
        """Return a blob's size, or where the walk ended."""
        ...

    def open(
        self, candidates: Candidates, digest: Digest
    ) -> AbstractAsyncContextManager[Found[HeldBlob] | Stopped | Nowhere]:
        """Open a blob for reading, or tell where the walk ended."""
        ...


class FindsTags(Protocol):
    """Who lists tags."""

    async def pull(self, candidates: Candidates) -> TagList | Stopped | Nowhere:
        """Return all tags, sorted, or where that ended."""
        ...


class CountsAnswers(Protocol):
    """Who counts what clients got; it costs no more than an addition."""

    def served(self, registry_id: str, upstream_id: str, hit: Hit, size: int) -> None:
        """Count a complete answer and its body's bytes."""
        ...


class FindsReferrers(Protocol):
    """Who lists referrers."""

    async def pull(self, candidates: Candidates, subject: Digest) -> Found[Listed] | Stopped | Nowhere:
        """Return all that refers to a manifest, or where the walk for that ended."""
        ...


@dataclass(slots=True)
class Request:
    """What is read of a request. `credentials` counts its Authorization headers."""

    is_head: bool
    query: bytes
    authorization: bytes | None = None
    credentials: int = 0
    range: bytes | None = None
    if_none_match: bytes | None = None
    if_range: bytes | None = None
    access_id: str | None = None


@dataclass(frozen=True, slots=True)
class Visit:
    """A request of a client who was let into a registry, by this state of the configuration."""

    request: Request
    registry: RegistryRecord
    snapshot: Snapshot
    send: Send
    receive: Receive


class Endpoints:
    """Answers for a registry the client may pull from. A Problem is for the caller to send."""

    def __init__(  # noqa: PLR0913 - one collaborator for each thing that can be pulled
        self,
        *,
        manifests: FindsManifests,
        blobs: FindsBlobs,
        tags: FindsTags,
        referrers: FindsReferrers,
        repositories: Repositories,
        servers: Servers,
        sources: Sources,
        hot: HotManifests,
        counts: CountsAnswers,
        catalogue: Catalogue,
        log: NotesPulls,
    ) -> None:
        self._manifests = manifests
        self._blobs = blobs
        self._tags = tags
        self._referrers = referrers
        self._repositories = repositories
        self._servers = servers
        self._sources = sources
        self._hot = hot
        self._counts = counts
        self._catalogue = catalogue
        self._log = log

    def from_memory(
        self,
        path: ManifestPath,
        request: Request,
        registry: RegistryRecord,
        snapshot: Snapshot,
        most_bytes: int | None = None,
    ) -> Reply | None:
        """Return the answer for a manifest about which nobody need be asked, unless it is larger."""
        hot = self._hot.get((registry.id, path.place.repository, path.reference), snapshot.routing)
        if hot is None:
            return None
        reply, etag, upstream_id = hot
        if most_bytes is not None and len(reply.body) > most_bytes:
            return None
        pulled = _pulled(path, registry, request, etag, (upstream_id, Hit.MEMORY))
        return self._counted(_unless_matched(reply, etag, request), request, pulled)

    async def manifest(self, path: ManifestPath, visit: Visit) -> Reply | Problem:
        """Find the manifest, and keep it ready while it is good."""
        key = (visit.registry.id, path.place.repository, path.reference)
        asked = await self._candidates(path.place, visit, path.reference)
        found = await self._manifests.pull(asked, path.reference)
        if not isinstance(found, Served):
            return problem_of(found, OciError.MANIFEST_UNKNOWN)
        if isinstance(path.reference, Tag):
            tag = TagFound(visit.registry, path.place.repository, path.reference, found.upstream_id)
            try:
                if not await self._sources.admit(tag, asked):
                    return _SOURCE_CHANGED
            except MemoryUnreadableError:
                return _UNREADABLE
        self._remember(path.place, visit, found.upstream_id)
        reply, etag = _manifest_reply(found)
        routing, upstream_id = visit.snapshot.routing, found.upstream_id
        self._hot.keep(
            key, routing, reply, etag, upstream_id=upstream_id, seconds=min(found.good_for, HOT_SECONDS)
        )
        answer = _unless_matched(reply, etag, visit.request)
        pulled = _pulled(path, visit.registry, visit.request, etag, (upstream_id, found.hit))
        return self._counted(answer, visit.request, pulled)

    async def blob(self, path: BlobPath, visit: Visit) -> Reply | Problem | None:
        """Answer, or stream the blob and return None; raise VregError when its body ends in the middle."""
        asked = await self._candidates(path.place, visit, path.digest)
        if visit.request.is_head or _matches(_etag(path.digest), visit.request):
            size = await self._blobs.size(asked, path.digest)
            if not isinstance(size, Found):
                return problem_of(size, OciError.BLOB_UNKNOWN)
            return _blob_head(path.digest, size.thing, visit.request)
        async with self._blobs.open(asked, path.digest) as found:
            if not isinstance(found, Found):
                return problem_of(found, OciError.BLOB_UNKNOWN)
            self._remember(path.place, visit, found.candidate.upstream.id)
            try:
                sent = await _stream(path.digest, found.thing, visit)
            except BlobInterruptedError as error:
                verdict = Verdict(Answer.UNAVAILABLE, error.reason, detail=str(error))
                return problem_of(Stopped(found.candidate.upstream.id, verdict), OciError.BLOB_UNKNOWN)
            if isinstance(sent, Problem):
                return sent
            source = (found.candidate.upstream.id, found.thing.hit)
            self._counts.served(visit.registry.id, *source, sent)
            self._log.pulled(_pulled(path, visit.registry, visit.request, _etag(path.digest), source), sent)
            return None

    async def tags(self, path: TagsPath, visit: Visit) -> Reply | Problem:
        """Answer with one page of the list."""
        page = tags_page(visit.request.query)
        if isinstance(page, Problem):
            return page
        upstreams = visit.snapshot.upstreams
        asked = candidates(visit.registry, upstreams, self._catalogue, path.place.repository)
        found = await self._tags.pull(asked)
        if not isinstance(found, TagList):
            return problem_of(found, OciError.NAME_UNKNOWN)
        names, link = page.cut(found.names, f"/v2/{path.place.name}/tags/list")
        headers = [*([(b"link", link)] if link is not None else []), *_stale_headers(found.stale)]
        return json_reply(200, {"name": path.place.name, "tags": names}, headers)

    async def referrers(self, path: ReferrersPath, visit: Visit) -> Reply | Problem:
        """Answer with an index of all that refers to a manifest; an empty one when nothing does."""
        wanted = artifact_type_of(visit.request.query)
        if isinstance(wanted, Problem):
            return wanted
        asked = await self._candidates(path.place, visit, path.digest)
        found = await self._referrers.pull(asked, path.digest)
        if isinstance(found, Stopped):
            return problem_of(found, OciError.MANIFEST_UNKNOWN)
        if isinstance(found, Nowhere):
            return referrers_reply((), wanted)
        self._remember(path.place, visit, found.candidate.upstream.id)
        reply = referrers_reply(found.thing, wanted)
        return reply.with_headers(*_stale_headers(found.stale))

    async def catalog(
        self, registries: Sequence[RegistryRecord], request: Request, snapshot: Snapshot
    ) -> Reply | Problem:
        """Answer with one page of the repositories that were served from these registries."""
        page = repositories_page(request.query)
        if isinstance(page, Problem):
            return page
        try:
            names = await self._repositories.after(
                page.last or "", page.n + 1, registries, snapshot.upstreams
            )
        except MemoryUnreadableError:
            return _UNREADABLE
        shown, link = page.cut(names, "/v2/_catalog")
        return json_reply(200, {"repositories": shown}, [(b"link", link)] if link is not None else [])

    async def _candidates(self, place: Place, visit: Visit, reference: Reference) -> Candidates:
        """Return whom to ask. For a digest, whoever served the repository last comes first.

        The bytes are the same wherever they come from, and he knows the name already.
        """
        registry = visit.registry
        found = candidates(registry, visit.snapshot.upstreams, self._catalogue, place.repository)
        if isinstance(reference, Digest) and len(found) > 1:
            last = await self._servers.server_of(registry.id, place.repository.value)
            return sorted(found, key=lambda each: _upstream_id(each) != last)
        return found

    def _counted(self, reply: Reply, request: Request, pulled: Pulled) -> Reply:
        size = 0 if request.is_head else len(reply.body)
        self._counts.served(pulled.registry_id, pulled.upstream_id, pulled.hit, size)
        if not request.is_head:
            self._log.pulled(pulled, size)
        return reply

    def _remember(self, place: Place, visit: Visit, upstream_id: str) -> None:
        self._servers.remember_server(visit.registry.id, place.repository.value, upstream_id)


def _pulled(
    path: ManifestPath | BlobPath,
    registry: RegistryRecord,
    request: Request,
    etag: bytes,
    source: tuple[str, Hit],
) -> Pulled:
    reference = path.reference if isinstance(path, ManifestPath) else path.digest
    return Pulled(
        request.access_id,
        registry.id,
        path.place.repository.value,
        str(reference),
        etag[1:-1].decode("ascii"),
        "manifest" if isinstance(path, ManifestPath) else "blob",
        *source,
    )


def _upstream_id(candidate: Candidate | Obstacle) -> str:
    return candidate.upstream.id if isinstance(candidate, Candidate) else candidate.upstream_id


async def _stream(digest: Digest, blob: HeldBlob, visit: Visit) -> Problem | int:
    """Send what was asked for and return how many bytes that were."""
    part = requested_part(_range_of(digest, visit.request), blob.size)
    if isinstance(part, Unsatisfiable):
        return Problem(OciError.RANGE_INVALID, content_range=f"bytes */{blob.size}")
    wanted = part or Part(0, blob.size)
    headers = _blob_headers(digest, wanted.stop - wanted.start)
    if part is not None:
        headers.append((b"content-range", part.content_range(blob.size)))
    pieces = blob.chunks(wanted.start, wanted.stop)
    await send_body(200 if part is None else 206, headers, pieces, visit.send, visit.receive)
    return wanted.stop - wanted.start


def _range_of(digest: Digest, request: Request) -> bytes | None:
    """Return the Range header, unless its condition names other content (RFC 9110 13.1.5)."""
    return request.range if request.if_range in {None, _etag(digest)} else None


def _blob_head(digest: Digest, size: int, request: Request) -> Reply:
    if _matches(_etag(digest), request):
        return Reply(304, [(b"etag", _etag(digest)), API_VERSION])
    return Reply(200, _blob_headers(digest, size))


def _blob_headers(digest: Digest, length: int) -> Headers:
    return [
        _BYTES,
        (b"content-length", str(length).encode()),
        (b"docker-content-digest", str(digest).encode()),
        (b"etag", _etag(digest)),
        _ACCEPTS_RANGES,
        API_VERSION,
    ]


def _manifest_reply(served: Served) -> tuple[Reply, bytes]:
    manifest = served.manifest
    etag = _etag(manifest.digest)
    headers: Headers = [
        (b"content-type", manifest.media_type.encode("latin-1", "replace")),
        (b"content-length", str(len(manifest.body)).encode()),
        (b"docker-content-digest", str(manifest.digest).encode()),
        (b"etag", etag),
        API_VERSION,
    ]
    headers += _stale_headers(served.stale)
    return Reply(200, headers, manifest.body), etag


def _stale_headers(stale: Staleness | None) -> Headers:
    """Say so (RFC 7234, 5.5.1), and for how many seconds nobody has confirmed it."""
    return [] if stale is None else [STALE, (b"age", str(round(stale.age)).encode())]


def _unless_matched(reply: Reply, etag: bytes, request: Request) -> Reply:
    if request.if_none_match is None or not _matches(etag, request):
        return reply
    return Reply(
        304, [header for header in reply.headers if header[0] not in {b"content-length", b"content-type"}]
    )


def _matches(etag: bytes, request: Request) -> bool:
    """Compare weakly, as RFC 9110 13.1.2 wants; an ETag of ours holds no comma."""
    if request.if_none_match is None:
        return False
    given = {part.strip().removeprefix(b"W/") for part in request.if_none_match.split(b",")}
    return etag in given or b"*" in given


def _etag(digest: Digest) -> bytes:
    return f'"{digest}"'.encode()
