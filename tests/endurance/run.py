"""Pulls of images that nobody has, through token after token; and what clouds and journals say of it."""

import asyncio
import itertools
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import aiohttp

from tests.clients.puller import PullFailedError
from tests.e2e.cast import Cast, Member
from tests.support.wait import eventually

_PULLERS = 3
"""Of each cloud, at the same time."""
_LIMIT_SECONDS = 900.0
_SHORTEST_GAP = 0.4
"""Of a token's life, between two exchanges for one lease: they are half of it apart, give or take a tenth."""
_CALM = frozenset({"first", "scheduled"})
"""What an exchange is made for when no pull had to ask for it."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """How much of everything; `life` is a token's, in seconds."""

    pulls: int
    expiries: int
    life: float
    workers: int
    brokers: int


@dataclass
class Figures:
    """What happened in one cloud. `faults` are sentences, none when all held."""

    provider: str
    members: list[Member]
    pulled: int = 0
    failed: list[str] = field(default_factory=list)
    exchanges: Counter[str] = field(default_factory=Counter)
    """By lease scope, of what the brokers have on record."""
    granted: int = 0
    """By the cloud's own count."""
    on_record: list[dict[str, Any]] = field(default_factory=list)
    """The outcomes in the journals when both were counted."""
    faults: list[str] = field(default_factory=list)


class Run:
    """One run over every cloud whose credentials end, in a world that nothing has happened in before.

    `others` are the names of further brokers.
    """

    def __init__(self, play: Cast, wishes: Wishes, others: Iterable[str]) -> None:
        self._play = play
        self._wishes = wishes
        self._others = tuple(others)
        self._numbers = itertools.count()
        self._is_over = asyncio.Event()
        self.figures = [Figures(name, members) for name, members in _by_provider(play.members).items()]

    async def go(self) -> None:
        """Pull until every cloud has seen enough pulls, and every lease enough ends; then look at it all."""
        async with asyncio.TaskGroup() as group:
            for figures in self.figures:
                for _ in range(_PULLERS):
                    group.create_task(self._pull_on(figures))
            try:
                await eventually(self._is_enough, deadline=_LIMIT_SECONDS)
            finally:
                self._is_over.set()
        await eventually(self._is_on_record)
        for figures in self.figures:
            self._judge(figures)

    async def _pull_on(self, figures: Figures) -> None:
        async with self._play.puller() as puller:
            while not self._is_over.is_set():
                number = next(self._numbers)
                member = figures.members[number % len(figures.members)]
                tag = f"n{number}"
                digest = await asyncio.to_thread(member.push, f"endurance-{number}", tag)
                try:
                    pulled = await puller.pull(member.repository, tag)
                except (PullFailedError, aiohttp.ClientError, TimeoutError) as error:
                    figures.failed.append(f"{member.tag}: {type(error).__name__}: {error}")
                    continue
                if pulled.digest != digest:
                    figures.failed.append(f"{member.tag}: {tag} is another image")
                figures.pulled += 1

    def _is_enough(self) -> bool:
        for figures in self.figures:
            figures.exchanges = Counter(data["scope"] for data in self._issued(figures))
        return all(
            figures.pulled >= self._wishes.pulls
            and len(figures.exchanges) >= len(figures.members)
            and min(figures.exchanges.values()) > self._wishes.expiries
            for figures in self.figures
        )

    def _is_on_record(self) -> bool:
        """Whether the journals have caught up with the clouds: an outcome is written after it was granted.

        What was counted then is what is judged: tokens are refreshed all the time.
        """
        for figures in self.figures:
            figures.granted, figures.on_record = self._granted(figures), self._issued(figures)
        return all(len(figures.on_record) >= figures.granted for figures in self.figures)

    def _judge(self, figures: Figures) -> None:
        issued = figures.on_record
        figures.exchanges = Counter(data["scope"] for data in issued)
        if figures.granted != len(issued):
            figures.faults.append(f"{figures.granted} tokens granted, {len(issued)} exchanges on record")
        hasty = {data["trigger"] for data in issued} - _CALM
        if hasty:
            figures.faults.append(f"exchanges were made because of {', '.join(sorted(hasty))}")
        for scope in figures.exchanges:
            moments = sorted(_moment(data) for data in issued if data["scope"] == scope)
            gaps = [later - earlier for earlier, later in itertools.pairwise(moments)]
            if min(gaps) < self._wishes.life * _SHORTEST_GAP:
                figures.faults.append(f"{scope}: two exchanges for one lease, {min(gaps):.2f} s apart")
        if figures.failed:
            figures.faults.append(f"{len(figures.failed)} pulls failed, the first: {figures.failed[0]}")

    def _granted(self, figures: Figures) -> int:
        return self._play.stages[figures.provider].granted()

    def _issued(self, figures: Figures) -> list[dict[str, Any]]:
        identities = {member.identity_id for member in figures.members}
        return [
            event["data"]
            for event in self._play.stack.journalled(*self._others)
            if event["type"] == "vreg.exchange.outcome"
            and event["data"]["identity_id"] in identities
            and event["data"]["outcome"] == "issued"
        ]


def _by_provider(members: Iterable[Member]) -> Mapping[str, list[Member]]:
    """Return the members whose credentials end, by provider; a password is the same for ever."""
    found: dict[str, list[Member]] = {}
    for member in members:
        if member.prepared.services:
            found.setdefault(member.provider, []).append(member)
    return found


def _moment(data: Mapping[str, Any]) -> float:
    return datetime.fromisoformat(data["issued_at"]).timestamp()
