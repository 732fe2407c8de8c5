"""The walk itself: candidates are asked one after the other, and every step is decided in `resolution`."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from vreg_proxy.resolution import Candidate, Obstacle, Step, step_after
from vreg_shared.provider import Answer, Verdict

Thing = TypeVar("Thing")


@dataclass(frozen=True, slots=True)
class Given(Generic[Thing]):
    """An upstream gave the thing."""

    thing: Thing


@dataclass(frozen=True, slots=True)
class Refusal(Generic[Thing]):
    """An upstream did not give it; `copy` is what it gave earlier, if we still have that."""

    verdict: Verdict
    copy: Thing | None = None


@dataclass(frozen=True, slots=True)
class Found(Generic[Thing]):
    """Where the walk ended well. `is_first` says that nobody was asked before this candidate."""

    candidate: Candidate
    thing: Thing
    is_stale: bool
    is_first: bool


@dataclass(frozen=True, slots=True)
class Stopped:
    """Where the walk ended badly: nobody after `upstream_id` was asked."""

    upstream_id: str
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Nowhere:
    """Everybody said *absent*, or there was nobody to ask."""


Ask = Callable[[Candidate], Awaitable[Given[Thing] | Refusal[Thing]]]


async def walk(
    candidates: Sequence[Candidate | Obstacle], ask: Ask[Thing]
) -> Found[Thing] | Stopped | Nowhere:
    """Ask one after the other: asking a lower upstream early would tell it names not meant for it."""
    for position, candidate in enumerate(candidates):
        if isinstance(candidate, Obstacle):
            return Stopped(candidate.upstream_id, candidate.verdict)
        answer = await ask(candidate)
        if isinstance(answer, Given):
            return Found(candidate, answer.thing, is_stale=False, is_first=position == 0)
        step = _step(candidate, answer)
        if step is Step.SERVE_STALE and answer.copy is not None:
            return Found(candidate, answer.copy, is_stale=True, is_first=position == 0)
        if step is not Step.NEXT:
            return Stopped(candidate.upstream.id, answer.verdict)
    return Nowhere()


def _step(candidate: Candidate, refusal: Refusal[Thing]) -> Step:
    answer = refusal.verdict.answer
    if answer is Answer.FOUND:  # a verdict that calls nothing found is a fault, not a reason to go on
        return Step.STOP
    return step_after(
        answer,
        on_hidden=candidate.membership.on_hidden,
        stale_policy=candidate.upstream.stale_policy,
        has_copy=refusal.copy is not None,
    )
