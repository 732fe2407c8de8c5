"""Listing what refers to a manifest: asked of the upstream that gave the manifest, and of nobody else."""

import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final, Protocol

from vreg_proxy.asking import Asking, origin_of
from vreg_proxy.cache import Origin
from vreg_proxy.cache.recent import Recent
from vreg_proxy.holdings import ManifestHoldings
from vreg_proxy.manifests import Served
from vreg_proxy.resolution import Candidate, Obstacle
from vreg_proxy.staleness import CountsStale, Staleness, may_be_served
from vreg_proxy.walk import Copy, Found, Nowhere, Refusal, Stopped, staleness
from vreg_shared.clock import Clock
from vreg_shared.oci.digest import Digest
from vreg_shared.oci.media_types import MAX_MANIFEST_BYTES, OCI_INDEX
from vreg_shared.oci.reference import Reference
from vreg_shared.provider import Answer, Verdict
from vreg_shared.registry_client import Manifest, Referrer, RegistryClient, fallback_tag, referrers_of
from vreg_shared.registry_client.single_flight import SingleFlight
from vreg_shared.registry_client.transport import RequestFailedError

LIST_SECONDS: Final = 15.0
"""How long a list is trusted at most: whoever signs an image wants the signature to be seen."""
MAX_PAGES: Final = 100
TOO_MANY: Final = "too_many_referrers"
_REMEMBERED: Final = 1_000
Listed = tuple[Referrer, ...]


class FindsSubjects(Protocol):
    """Who pulls the manifest that is referred to."""

    async def pull(
        self, candidates: Sequence[Candidate | Obstacle], reference: Reference
    ) -> Served | Stopped | Nowhere:
        """Return the manifest, or where the walk ended."""
        ...


class Referrers:
    """Finds referrers. A list is kept as the index it is, so it outlives a restart and an upstream's fall."""

    def __init__(
        self,
        subjects: FindsSubjects,
        holdings: ManifestHoldings,
        asking: Asking,
        clock: Clock,
        counts: CountsStale,
    ) -> None:
        self._counts = counts
        self._subjects = subjects
        self._holdings = holdings
        self._asking = asking
        self._clock = clock
        self._too_many: Recent[tuple[Origin, Digest], tuple[float, Verdict]] = Recent(_REMEMBERED)
        self._questions: SingleFlight[tuple[Origin, Digest], Manifest | Verdict] = SingleFlight()

    async def pull(
        self, candidates: Sequence[Candidate | Obstacle], subject: Digest
    ) -> Found[Listed] | Stopped | Nowhere:
        """Return all referrers, or where the walk for their subject ended.

        Only an upstream that gave us the subject itself is asked, so a list grants no more than a pull does.
        """
        served = await self._subjects.pull(candidates, subject)
        if not isinstance(served, Served):
            return served
        candidate = next(
            each
            for each in candidates
            if isinstance(each, Candidate) and each.upstream.id == served.upstream_id
        )
        return await self._of(candidate, subject)

    async def _of(self, candidate: Candidate, subject: Digest) -> Found[Listed] | Stopped:
        origin = _lists_of(origin_of(candidate))
        life = timedelta(seconds=min(LIST_SECONDS, candidate.upstream.tag_validity_seconds))
        now = self._clock.now()
        not_before = now - life
        known = await self._holdings.tag(origin, str(subject), not_before)
        copy = await self._holdings.manifest(origin, known.digest) if known is not None else None
        is_current = known is not None and known.checked_at > not_before and not known.is_ahead(now)
        if copy is not None and is_current:
            return _found(candidate, copy)
        age = max(0.0, (now - known.checked_at).total_seconds()) if known is not None else 0.0
        has_copy = copy is not None and may_be_served(candidate.upstream, "network", age)
        answer = await self._questions.run(
            (origin, subject), lambda: self._ask(candidate, subject, has_copy=has_copy)
        )
        if isinstance(answer, Manifest):
            return _found(candidate, answer)
        if known is not None and copy is not None:
            age = max(0.0, (self._clock.now() - known.checked_at).total_seconds())
            stale = staleness(candidate, Refusal(answer, Copy(copy, age)))
            if stale is not None:
                self._counts.stale_served(candidate.upstream.id, stale.case)
                return _found(candidate, copy, stale)
        return Stopped(candidate.upstream.id, answer)

    async def _ask(self, candidate: Candidate, subject: Digest, *, has_copy: bool) -> Manifest | Verdict:
        key = (_lists_of(origin_of(candidate)), subject)
        too_many = self._too_many.get(key)
        if too_many is not None and self._clock.monotonic() < too_many[0]:
            return too_many[1]
        listed = await self._asking.ask(
            candidate,
            f"referrers {subject}",
            lambda client: _all(client, candidate, subject),
            has_copy=has_copy,
        )
        if isinstance(listed, Verdict):
            if listed.reason == TOO_MANY:
                self._too_many.put(key, (self._clock.monotonic() + LIST_SECONDS, listed))
            return listed
        index = _index(listed)
        if len(index.body) > MAX_MANIFEST_BYTES:  # a tag's list, which escapes make longer
            return _too_many(f"{len(listed)} of them need {len(index.body)} bytes")
        origin = _lists_of(origin_of(candidate))
        await self._holdings.store_manifest(origin, index)
        self._holdings.point_tag(origin, str(subject), index.digest, self._clock.now())
        return index


def index_document(listed: Listed) -> dict[str, Any]:
    """Return the image index that lists these."""
    return {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [_descriptor(each) for each in listed]}


def _lists_of(origin: Origin) -> Origin:
    """Return whose rights the lists are: no repository's name has an @, so no path leads there."""
    return Origin(origin.upstream_id, origin.cache_epoch, f"{origin.repository}@referrers")


def _found(candidate: Candidate, index: Manifest, stale: Staleness | None = None) -> Found[Listed]:
    return Found(candidate, referrers_of(index.body), stale, is_first=True)


async def _all(client: RegistryClient, candidate: Candidate, subject: Digest) -> Listed | Verdict:
    """Follow the upstream's pages to the end; where it has no such API, read the tag that stands in for it.

    All are asked for, whatever their type: one list serves every question, and some registries filter badly.
    """
    listed: dict[Digest, Referrer] = {}
    size = len(_index(()).body)
    page = await client.list_referrers(candidate.repository, subject)
    for _ in range(MAX_PAGES):
        if page is None:
            return await _by_tag(client, candidate, subject)
        if isinstance(page, Verdict):
            return page
        for referrer in page.referrers:
            if referrer.digest not in listed:
                listed[referrer.digest] = referrer
                size += len(_written(_descriptor(referrer))) + (len(listed) > 1)
        if size > MAX_MANIFEST_BYTES:
            return _too_many(f"more than {MAX_MANIFEST_BYTES} bytes")
        if page.next_page is None:
            return tuple(listed.values())
        page = await client.list_referrers(candidate.repository, subject, page=page.next_page)
    return _too_many(f"more than {MAX_PAGES} pages")


def _too_many(detail: str) -> Verdict:
    return Verdict(Answer.UNAVAILABLE, TOO_MANY, detail=detail)


async def _by_tag(client: RegistryClient, candidate: Candidate, subject: Digest) -> Listed | Verdict:
    """Read the list that clients keep under a tag; no such tag means that nothing refers to the subject."""
    index = await client.get_manifest(candidate.repository, fallback_tag(subject))
    if isinstance(index, Verdict):
        return () if index.answer is Answer.ABSENT else index
    try:
        return referrers_of(index.body)
    except RequestFailedError as error:
        return error.verdict


def _index(listed: Listed) -> Manifest:
    body = _written(index_document(listed))
    return Manifest(Digest.of(body), OCI_INDEX, body)


def _written(document: dict[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def _descriptor(referrer: Referrer) -> dict[str, Any]:
    described: dict[str, Any] = {
        "mediaType": referrer.media_type,
        "digest": str(referrer.digest),
        "size": referrer.size,
    }
    if referrer.artifact_type is not None:
        described["artifactType"] = referrer.artifact_type
    if referrer.annotations:
        described["annotations"] = dict(referrer.annotations)
    return described
