"""The walk itself: candidates are asked one after the other, and every step is decided in `resolution`."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from vreg_proxy.resolution import Candidate, Obstacle, Step, step_after
from vreg_proxy.staleness import Staleness, may_be_served, stale_case
from vreg_shared.provider import Answer, Verdict

Thing = TypeVar("Thing")


@dataclass(frozen=True, slots=True)
class Given(Generic[Thing]):
    """An upstream gave the thing."""

    thing: Thing


@dataclass(frozen=True, slots=True)
class Copy(Generic[Thing]):
    """What an upstream gave earlier, and how many seconds ago it said so last."""

    thing: Thing
    age: float


@dataclass(frozen=True, slots=True)
class Refusal(Generic[Thing]):
    """An upstream did not give it; `copy` is what it gave earlier, if we still have that."""

    verdict: Verdict
    copy: Copy[Thing] | None = None


@dataclass(frozen=True, slots=True)
class Found(Generic[Thing]):
    """Where the walk ended well. `is_first` says that nobody was asked before this candidate.

    `stale` says why it is an earlier copy; None when it is not.
    """

    candidate: Candidate
    thing: Thing
    stale: Staleness | None
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
        end = await step(candidate, ask, is_first=position == 0)
        if end is not None:
            return end
    return Nowhere()


async def walk_all(
    candidates: Sequence[Candidate | Obstacle], ask: Ask[Thing]
) -> list[Found[Thing]] | Stopped:
    """Go on after what is found, in the same order and by the same rules; nothing is left out silently."""
    found: list[Found[Thing]] = []
    for position, candidate in enumerate(candidates):
        end = await step(candidate, ask, is_first=position == 0)
        if isinstance(end, Stopped):
            return end
        if end is not None:
            found.append(end)
    return found


async def step(
    candidate: Candidate | Obstacle, ask: Ask[Thing], *, is_first: bool
) -> Found[Thing] | Stopped | None:
    """Ask one; None leads on to the next."""
    if isinstance(candidate, Obstacle):
        return Stopped(candidate.upstream_id, candidate.verdict)
    answer = await ask(candidate)
    if isinstance(answer, Given):
        return Found(candidate, answer.thing, None, is_first)
    if (
        answer.verdict.answer is Answer.FOUND
    ):  # a verdict that calls nothing found is a fault, no reason to go on
        return Stopped(candidate.upstream.id, answer.verdict)
    stale = staleness(candidate, answer)
    on_hidden = candidate.membership.on_hidden
    following = step_after(answer.verdict.answer, on_hidden=on_hidden, has_stale=stale is not None)
    if stale is not None and answer.copy is not None:
        return Found(candidate, answer.copy.thing, stale, is_first)
    return None if following is Step.NEXT else Stopped(candidate.upstream.id, answer.verdict)


def staleness(candidate: Candidate, refusal: Refusal[Thing]) -> Staleness | None:
    """Return why the copy may be served, None when there is none or it may not."""
    case = stale_case(refusal.verdict, candidate.membership.on_hidden)
    if case is None or refusal.copy is None:
        return None
    age = refusal.copy.age
    return Staleness(case, age) if may_be_served(candidate.upstream, case, age) else None
