"""Asking one upstream: with its client, past the breaker, and remembering for a moment what it lacks."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from typing import Final, TypeVar

from vreg_proxy.breaker import Breaker
from vreg_proxy.cache import Origin
from vreg_proxy.observations import Observations
from vreg_proxy.resolution import Candidate
from vreg_proxy.upstreams import Upstreams, UpstreamUnusableError
from vreg_shared.clock import Clock
from vreg_shared.provider import Answer, Verdict
from vreg_shared.registry_client import RegistryClient

ABSENCE_SECONDS: Final = 15.0
COPY_SECONDS: Final = 5.0
"""How long an upstream may take to answer while we have a copy to serve instead."""
_REMEMBERED: Final = 10_000
Thing = TypeVar("Thing")
Question = Callable[[RegistryClient], Awaitable[Thing | Verdict]]


def origin_of(candidate: Candidate) -> Origin:
    """Return whose rights and tags a candidate's answers are."""
    upstream = candidate.upstream
    return Origin(upstream.id, upstream.cache_epoch, candidate.repository.value)


class Asking:
    """Puts questions to upstreams; every failure is a verdict."""

    def __init__(
        self, upstreams: Upstreams, breaker: Breaker, observations: Observations, clock: Clock
    ) -> None:
        self._upstreams = upstreams
        self._observations = observations
        self._breaker = breaker
        self._clock = clock
        self._absent: OrderedDict[tuple[Origin, str], tuple[float, Verdict]] = OrderedDict()

    def upstream_changed(self, upstream_id: str) -> None:
        """Ask this upstream anew; what is remembered of others stays."""
        self._breaker.forget(upstream_id)
        self._forget_answers({upstream_id})

    def lease_changed(self, key: str) -> None:
        """Forget what the users of this lease lacked, for a new one may see more.

        Whether they answer at all does not depend on it: the breaker stays as it is.
        """
        self._forget_answers(self._upstreams.using_lease(key))

    def _forget_answers(self, upstream_ids: Collection[str]) -> None:
        for key in [key for key in self._absent if key[0].upstream_id in upstream_ids]:
            del self._absent[key]

    async def ask(
        self, candidate: Candidate, subject: str, question: Question[Thing], *, has_copy: bool = False
    ) -> Thing | Verdict:
        """Return the thing or a verdict. `subject` names what is asked for within the repository.

        `has_copy` says that a copy will be served if the upstream is silent: then it gets less time.
        """
        key = (origin_of(candidate), subject)
        known = self._known_absence(key) or self._breaker.verdict(candidate.upstream.id)
        if known is not None:
            return known
        answer = await self._put(candidate, question, COPY_SECONDS if has_copy else None)
        verdict = answer if isinstance(answer, Verdict) else None
        self.heard(candidate, subject, verdict)
        return answer

    def heard(self, candidate: Candidate, subject: str, verdict: Verdict | None) -> None:
        """Take in what an upstream answered, or None when it gave the thing."""
        self._breaker.heard(candidate.upstream.id, verdict)
        self._observations.heard(candidate.upstream.id, verdict)
        if verdict is None or verdict.answer not in {Answer.ABSENT, Answer.HIDDEN}:
            return
        life = min(ABSENCE_SECONDS, candidate.upstream.tag_validity_seconds)
        self._absent[(origin_of(candidate), subject)] = (self._clock.monotonic() + life, verdict)
        if len(self._absent) > _REMEMBERED:
            self._absent.popitem(last=False)

    def absence(self, candidate: Candidate, subject: str) -> Verdict | None:
        """Return the upstream's own answer, if it said a moment ago that it lacks this."""
        return self._known_absence((origin_of(candidate), subject))

    def silence(self, candidate: Candidate) -> Verdict | None:
        """Return what to answer in place of a silent upstream; None lets the caller ask."""
        return self._breaker.verdict(candidate.upstream.id)

    @asynccontextmanager
    async def client(self, candidate: Candidate) -> AsyncIterator[RegistryClient]:
        """Lend a client, for who asks by himself; raise UpstreamUnusableError."""
        async with self._upstreams.client(candidate) as client:
            yield client

    async def _put(
        self, candidate: Candidate, question: Question[Thing], seconds: float | None
    ) -> Thing | Verdict:
        try:
            async with asyncio.timeout(seconds), self._upstreams.client(candidate) as client:
                return await question(client)
        except TimeoutError:
            return Verdict(Answer.UNAVAILABLE, "timeout", detail=f"no answer within {seconds} s")
        except UpstreamUnusableError as error:
            return error.verdict

    def _known_absence(self, key: tuple[Origin, str]) -> Verdict | None:
        until, verdict = self._absent.get(key, (0.0, None))
        if verdict is None or self._clock.monotonic() < until:
            return verdict
        del self._absent[key]
        return None
