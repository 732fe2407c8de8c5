"""Listing a repository's tags: of every upstream that a pull may reach, as one list, sorted and paged by us.

A merged list is whole or an error. An upstream that does not answer ends it, as it would end a pull; its own
last list stands in where its stale policy says so.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from vreg_proxy.asking import Asking, origin_of
from vreg_proxy.cache import Origin  # noqa: TC001 - as everywhere, imports are plain
from vreg_proxy.cache.recent import Recent
from vreg_proxy.resolution import Candidate, Obstacle
from vreg_proxy.staleness import CountsStale, Staleness, stale_case
from vreg_proxy.walk import Copy, Found, Given, Nowhere, Refusal, Stopped, walk_all
from vreg_shared.clock import Clock
from vreg_shared.provider import Answer, Verdict
from vreg_shared.registry_client import MAX_TAGS, RegistryClient
from vreg_shared.registry_client.single_flight import SingleFlight

LIST_SECONDS: Final = 15.0
"""How long a list is trusted, so that paging through it asks the upstream once."""
UPSTREAM_PAGE: Final = 1000
MAX_PAGES: Final = 100
_REMEMBERED: Final = 250_000
"""Tags in memory, of all lists together."""
Names = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TagList:
    """All tags in lexical order. `stale` is the oldest part's, if any part is an earlier list."""

    names: Names
    stale: Staleness | None = None


@dataclass(frozen=True, slots=True)
class _Kept:
    """A list and when its upstream gave it, in monotonic seconds."""

    names: Names
    given_at: float


class Tags:
    """Finds lists of tags. Earlier lists are in memory alone: a restart forgets them."""

    def __init__(self, asking: Asking, clock: Clock, counts: CountsStale) -> None:
        self._asking = asking
        self._clock = clock
        self._counts = counts
        self._lists: Recent[Origin, _Kept] = Recent(_REMEMBERED, _weight)
        self._questions: SingleFlight[Origin, Names | Verdict] = SingleFlight()

    async def pull(self, candidates: Sequence[Candidate | Obstacle]) -> TagList | Stopped | Nowhere:
        """Return the tags of everybody who has the repository, or where that ended."""
        found = await walk_all(candidates, self._ask)
        if isinstance(found, Stopped):
            return found
        for each in found:
            if each.stale is not None:
                self._counts.stale_served(each.candidate.upstream.id, each.stale.case)
        return _merged(found)

    async def _ask(self, candidate: Candidate) -> Given[Names] | Refusal[Names]:
        origin = origin_of(candidate)
        known = self._lists.get(origin)
        life = min(LIST_SECONDS, candidate.upstream.tag_validity_seconds)
        if known is not None and self._age(known) < life:
            return Given(known.names)
        answer = await self._questions.run(
            origin, lambda: self._asking.ask(candidate, "tags", lambda client: _all(client, candidate))
        )
        if isinstance(answer, Verdict):
            is_deleted = stale_case(answer, candidate.membership.on_hidden) == "deleted"
            if is_deleted and "deleted" not in candidate.upstream.stale_for:
                self._lists.drop(origin)
                return Refusal(answer)
            return Refusal(answer, Copy(known.names, self._age(known)) if known is not None else None)
        self._lists.put(origin, _Kept(answer, self._clock.monotonic()))
        return Given(answer)

    def _age(self, kept: _Kept) -> float:
        return self._clock.monotonic() - kept.given_at


def _weight(kept: _Kept) -> int:
    return 1 + len(kept.names)


def _merged(found: Sequence[Found[Names]]) -> TagList | Stopped | Nowhere:
    if not found:
        return Nowhere()
    if sum(len(each.thing) for each in found) > MAX_TAGS:
        return Stopped(found[-1].candidate.upstream.id, _too_many(f"more than {MAX_TAGS} of all upstreams"))
    names = (
        found[0].thing if len(found) == 1 else tuple(sorted({name for each in found for name in each.thing}))
    )
    stale = max(
        (each.stale for each in found if each.stale is not None), key=lambda each: each.age, default=None
    )
    return TagList(names, stale)


async def _all(client: RegistryClient, candidate: Candidate) -> Names | Verdict:
    """Follow the upstream's own pages to the end: their cursors differ, and some are opaque."""
    names: set[str] = set()
    listed = 0
    page = await client.list_tags(candidate.repository, UPSTREAM_PAGE)
    for _ in range(MAX_PAGES):
        if isinstance(page, Verdict):
            return page
        names.update(tag.value for tag in page.tags)
        listed += len(page.tags)
        if listed > MAX_TAGS:
            return _too_many(f"more than {MAX_TAGS}")
        if page.next_page is None:
            return tuple(sorted(names))
        page = await client.list_tags(candidate.repository, page=page.next_page)
    return _too_many(f"more than {MAX_PAGES} pages")


def _too_many(detail: str) -> Verdict:
    return Verdict(Answer.UNAVAILABLE, "too_many_tags", detail=detail)
