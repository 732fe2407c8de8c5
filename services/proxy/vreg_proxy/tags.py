"""Listing a repository's tags: of the first upstream that has it, whole, sorted, and paged by us."""

from collections.abc import Sequence
from typing import Final

from vreg_proxy.asking import Asking, origin_of
from vreg_proxy.cache import Origin  # noqa: TC001 - as everywhere, imports are plain
from vreg_proxy.cache.recent import Recent
from vreg_proxy.resolution import Candidate, Obstacle
from vreg_proxy.walk import Found, Given, Nowhere, Refusal, Stopped, walk
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


class Tags:
    """Finds lists of tags."""

    def __init__(self, asking: Asking, clock: Clock) -> None:
        self._asking = asking
        self._clock = clock
        self._lists: Recent[Origin, tuple[float, Names]] = Recent(_REMEMBERED, _weight)
        self._questions: SingleFlight[Origin, Names | Verdict] = SingleFlight()

    async def pull(self, candidates: Sequence[Candidate | Obstacle]) -> Found[Names] | Stopped | Nowhere:
        """Return all tags in lexical order, or where the walk ended."""
        return await walk(candidates, self._ask)

    async def _ask(self, candidate: Candidate) -> Given[Names] | Refusal[Names]:
        origin = origin_of(candidate)
        known = self._lists.get(origin)
        if known is not None and self._clock.monotonic() < known[0]:
            return Given(known[1])
        answer = await self._questions.run(
            origin, lambda: self._asking.ask(candidate, "tags", lambda client: _all(client, candidate))
        )
        if isinstance(answer, Verdict):
            return Refusal(answer)
        life = min(LIST_SECONDS, candidate.upstream.tag_validity_seconds)
        self._lists.put(origin, (self._clock.monotonic() + life, answer))
        return Given(answer)


def _weight(listed: tuple[float, Names]) -> int:
    return 1 + len(listed[1])


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
            return Verdict(Answer.UNAVAILABLE, "too_many_tags", detail=f"more than {MAX_TAGS}")
        if page.next_page is None:
            return tuple(sorted(names))
        page = await client.list_tags(candidate.repository, page=page.next_page)
    return Verdict(Answer.UNAVAILABLE, "too_many_tags", detail=f"more than {MAX_PAGES} pages")
