"""Pulling a manifest: own copies while they are good, otherwise the upstreams in their order."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from vreg_proxy.asking import ABSENCE_SECONDS, Asking, origin_of
from vreg_proxy.cache import Hit, Origin, TagEntry
from vreg_proxy.holdings import ManifestHoldings
from vreg_proxy.resolution import Candidate, Obstacle
from vreg_proxy.staleness import CountsStale, Staleness, may_be_served, stale_case
from vreg_proxy.walk import Copy, Found, Given, Nowhere, Refusal, Stopped, walk
from vreg_shared.clock import Clock
from vreg_shared.oci.digest import Digest
from vreg_shared.oci.reference import Reference, Tag
from vreg_shared.provider import Verdict
from vreg_shared.registry_client import Manifest, RegistryClient
from vreg_shared.registry_client.single_flight import SingleFlight

STALE_SECONDS: Final = 1.0
"""How long a stale manifest is served from memory before its upstream is asked again."""
FOR_EVER: Final = float("inf")


NOTHING: Final = Digest.of(b"")
"""Where a deleted tag points: no manifest is empty, so nobody has a right to it."""


@dataclass(frozen=True, slots=True)
class Served:
    """A manifest, and for how many seconds nobody need be asked about its reference again.

    `stale` says why it is an earlier copy; None when it is not.
    """

    manifest: Manifest
    upstream_id: str
    good_for: float
    hit: Hit
    stale: Staleness | None = None


@dataclass(frozen=True, slots=True)
class _Held:
    """A manifest as one upstream gives it now, and how many seconds of its tag's validity are left."""

    manifest: Manifest
    good_for: float
    hit: Hit


_Answer = Given[_Held] | Refusal[_Held]


class Manifests:
    """Finds manifests. Questions about one reference of one upstream are asked once for all who wait."""

    def __init__(self, holdings: ManifestHoldings, asking: Asking, clock: Clock, counts: CountsStale) -> None:
        self._holdings = holdings
        self._asking = asking
        self._clock = clock
        self._counts = counts
        self._questions: SingleFlight[tuple[Origin, Reference], _Answer] = SingleFlight()

    async def pull(
        self, candidates: Sequence[Candidate | Obstacle], reference: Reference
    ) -> Served | Stopped | Nowhere:
        """Return the manifest, or where the walk ended."""
        if isinstance(reference, Digest):
            held = await self._held(candidates, reference)
            if held is not None:
                return held
        found = await walk(candidates, lambda candidate: self._ask(candidate, reference))
        if not isinstance(found, Found):
            return found
        if found.stale is not None:
            self._counts.stale_served(found.candidate.upstream.id, found.stale.case)
        return _served(found)

    async def _held(self, candidates: Sequence[Candidate | Obstacle], digest: Digest) -> Served | None:
        """Return our own copy. A digest means the same bytes for everyone who has a right to them."""
        for candidate in candidates:
            if isinstance(candidate, Candidate):
                manifest = await self._holdings.manifest(origin_of(candidate), digest)
                if manifest is not None:
                    return Served(manifest, candidate.upstream.id, FOR_EVER, Hit.DISK)
        return None

    async def _ask(self, candidate: Candidate, reference: Reference) -> _Answer:
        key = (origin_of(candidate), reference)
        if isinstance(reference, Tag):
            return await self._questions.run(key, lambda: self._by_tag(candidate, reference))
        return await self._questions.run(key, lambda: self._fetch(candidate, reference))

    async def _by_tag(self, candidate: Candidate, tag: Tag) -> _Answer:
        origin = origin_of(candidate)
        validity = candidate.upstream.tag_validity_seconds
        checked_after = self._clock.now() - timedelta(seconds=validity)
        known = await self._holdings.tag(origin, tag.value, checked_after)
        manifest = await self._holdings.manifest(origin, known.digest) if known is not None else None
        if known is None:
            return await self._fetch(candidate, tag)
        if manifest is None:
            answer = await self._fetch(candidate, tag)
        else:
            age = self._age(known)
            if age < validity and not known.is_ahead(self._clock.now()):
                return Given(_Held(manifest, validity - age, Hit.DISK))
            answer = await self._revalidate(candidate, tag, Copy(manifest, age))
        if known.digest != NOTHING:
            self._forget_if_deleted(candidate, tag, answer)
        return answer

    def _age(self, known: TagEntry) -> float:
        """Return the seconds since the last check; one in the future, by a clock set back, was just now."""
        return max(self._clock.now() - known.checked_at, timedelta()).total_seconds()

    async def _revalidate(self, candidate: Candidate, tag: Tag, copy: Copy[Manifest]) -> _Answer:
        """Ask by HEAD whether the tag still names our copy."""

        async def current(client: RegistryClient) -> Digest | Verdict:
            told = await client.head_manifest(candidate.repository, tag)
            return told if isinstance(told, Verdict) else told.digest

        has_copy = may_be_served(candidate.upstream, "network", copy.age)
        digest = await self._asking.ask(candidate, f"tag {tag}", current, has_copy=has_copy)
        if isinstance(digest, Verdict):
            return _not_given(digest, copy)
        if digest == copy.thing.digest:
            return self._keep(candidate, tag, copy.thing, Hit.REVALIDATED)
        held = await self._holdings.manifest(origin_of(candidate), digest)
        if held is not None:
            return self._keep(candidate, tag, held, Hit.REVALIDATED)
        return await self._fetch(candidate, tag, copy)

    async def _fetch(
        self, candidate: Candidate, reference: Reference, copy: Copy[Manifest] | None = None
    ) -> _Answer:
        async def given(client: RegistryClient) -> Manifest | Verdict:
            return await client.get_manifest(candidate.repository, reference)

        subject = f"{'tag' if isinstance(reference, Tag) else 'manifest'} {reference}"
        has_copy = copy is not None and may_be_served(candidate.upstream, "network", copy.age)
        manifest = await self._asking.ask(candidate, subject, given, has_copy=has_copy)
        if isinstance(manifest, Verdict):
            return _not_given(manifest, copy)
        await self._holdings.store_manifest(origin_of(candidate), manifest)
        return self._keep(candidate, reference, manifest, Hit.FILLED)

    def _keep(self, candidate: Candidate, reference: Reference, manifest: Manifest, hit: Hit) -> _Answer:
        if isinstance(reference, Digest):
            return Given(_Held(manifest, FOR_EVER, hit))
        now = self._clock.now()
        self._holdings.point_tag(origin_of(candidate), reference.value, manifest.digest, now)
        return Given(_Held(manifest, float(candidate.upstream.tag_validity_seconds), hit))

    def _forget_if_deleted(self, candidate: Candidate, tag: Tag, answer: _Answer) -> None:
        """Let go of a tag its upstream says is gone, so that it does not come back when that is down."""
        if isinstance(answer, Given) or "deleted" in candidate.upstream.stale_for:
            return
        if stale_case(answer.verdict, candidate.membership.on_hidden) == "deleted":
            self._holdings.point_tag(origin_of(candidate), tag.value, NOTHING, self._clock.now())


def _not_given(verdict: Verdict, copy: Copy[Manifest] | None) -> _Answer:
    if copy is None:
        return Refusal(verdict)
    return Refusal(verdict, Copy(_Held(copy.thing, STALE_SECONDS, Hit.STALE), copy.age))


def _served(found: Found[_Held]) -> Served:
    """Trust a tag that an earlier upstream lacked for less long: that one may come to have it."""
    good_for = found.thing.good_for
    if not found.is_first and good_for != FOR_EVER:
        good_for = min(good_for, ABSENCE_SECONDS)
    return Served(found.thing.manifest, found.candidate.upstream.id, good_for, found.thing.hit, found.stale)
