"""What can be known of health: the book's latest beside names, history and who has seen it."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import structlog

from vreg_api import problems
from vreg_api.authentication import Actor
from vreg_api.health.book import HealthBook
from vreg_api.health.rollup import rolled_up
from vreg_api.health.schemas import (
    AcknowledgementView,
    HealthSummary,
    RegistryHealthView,
    TokenLifeView,
    UpstreamHealthView,
)
from vreg_api.health.store import Acknowledgement, HealthChange, HealthStore
from vreg_api.paging import PageRequest
from vreg_api.problems import ProblemError
from vreg_api.store.database import Database, DatabaseUnavailableError
from vreg_api.upstreams.service import Upstreams
from vreg_api.upstreams.store import Upstream
from vreg_api.virtual_registries.service import VirtualRegistries
from vreg_api.virtual_registries.store import VirtualRegistry
from vreg_shared.clock import Clock
from vreg_shared.messages.health import HealthRecord, HealthState
from vreg_shared.messages.record import SignedRecord

KEPT: Final = timedelta(days=90)
HISTORY: Final = 100
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """Every method but `heard` raises ProblemError or DatabaseUnavailableError."""

    database: Database
    store: HealthStore
    upstreams: Upstreams
    registries: VirtualRegistries
    book: HealthBook
    clock: Clock
    is_current: Callable[[], bool]

    async def heard(self, record: SignedRecord, _raw: bytes) -> None:
        """Take in what the broker tells; raise RecordRejectedError. A database that is down costs history."""
        news = self.book.adopt(record)
        if news is None:
            return
        change = HealthChange(
            upstream_id=news.upstream_id,
            since=news.since,
            state=news.state.value,
            reason=news.reason,
            detail=news.detail,
            remedy=news.remedy,
        )
        try:
            async with self.database.write(is_news=False) as tx:
                await self.store.forget_before(tx, self.clock.now() - KEPT)
                await self.store.add_change(tx, change)
        except DatabaseUnavailableError as error:
            _log.warning("health_change_not_kept", upstream_id=news.upstream_id, reason=str(error))

    async def summary(self, actor: Actor) -> HealthSummary:
        """Return how many upstreams are in which state, of those that the actor sees."""
        async with self.database.read() as tx:
            identifiers = await self.upstreams.store.ids(tx, actor.limits)
        states = dict.fromkeys(HealthState, 0)
        for identifier in identifiers:
            record = self.book.record(identifier)
            states[record.state if record is not None else HealthState.UNKNOWN] += 1
        return HealthSummary(states=states, is_current=self.is_current())

    async def page(self, asked: PageRequest, actor: Actor) -> Sequence[UpstreamHealthView]:
        """Return a page of upstreams' health, and one more if there is one."""
        seen = await self._seen()
        return [self._view(upstream, seen) for upstream in await self.upstreams.page(asked, actor)]

    async def of_upstream(self, identifier: str, actor: Actor) -> UpstreamHealthView:
        """Return one upstream's health."""
        return self._view(await self.upstreams.read(identifier, actor), await self._seen())

    async def history(self, identifier: str, actor: Actor) -> Sequence[HealthChange]:
        """Return an upstream's latest states, the latest first."""
        await self.upstreams.read(identifier, actor)
        async with self.database.read() as tx:
            return await self.store.changes(tx, identifier, HISTORY)

    async def registries_page(self, asked: PageRequest, actor: Actor) -> Sequence[RegistryHealthView]:
        """Return a page of virtual registries' health, and one more if there is one."""
        found, seen = await self.registries.page(asked, actor), await self._seen()
        return [self._registry(registry, await self._members(registry), seen) for registry in found]

    async def of_registry(self, identifier: str, actor: Actor) -> RegistryHealthView:
        """Return one virtual registry's health."""
        registry = await self.registries.read(identifier, actor)
        return self._registry(registry, await self._members(registry), await self._seen())

    async def acknowledge(self, identifier: str, note: str, actor: Actor) -> UpstreamHealthView:
        """Say that somebody has seen an upstream's state, as it is now."""
        view = await self.of_upstream(identifier, actor)
        if view.since is None:
            raise problems.invalid("upstream_id", "unknown", "nobody has told of its health yet")
        given = Acknowledgement(
            upstream_id=identifier, since=view.since, by=actor.name, at=self.clock.now(), note=note
        )
        async with self.database.write(is_news=False) as tx:
            await self.store.acknowledge(tx, given)
        return await self.of_upstream(identifier, actor)

    async def follow(self, actor: Actor) -> AsyncIterator[UpstreamHealthView]:
        """Give every change from now on, of the upstreams that the actor sees."""
        position = self.book.position
        while True:
            position, news = await self.book.news_after(position)
            seen = await self._seen()
            for record in news:
                try:
                    upstream = await self.upstreams.read(record.upstream_id, actor)
                except ProblemError:
                    continue  # beyond its limits, or deleted meanwhile
                yield self._view_of(upstream, record, seen)

    async def _seen(self) -> Mapping[str, Acknowledgement]:
        async with self.database.read() as tx:
            return await self.store.acknowledgements(tx)

    async def _members(self, registry: VirtualRegistry) -> Sequence[Upstream]:
        async with self.database.read() as tx:
            found = [await self.upstreams.store.find(tx, each.upstream_id) for each in registry.memberships]
        return [each for each in found if each is not None]

    def _registry(
        self, registry: VirtualRegistry, members: Sequence[Upstream], seen: Mapping[str, Acknowledgement]
    ) -> RegistryHealthView:
        views = tuple(self._view(upstream, seen) for upstream in members)
        states = [view.state for view, upstream in zip(views, members, strict=True) if upstream.enabled]
        return RegistryHealthView(
            registry_id=registry.id, slug=registry.slug, state=rolled_up(states), upstreams=views
        )

    def _view(self, upstream: Upstream, seen: Mapping[str, Acknowledgement]) -> UpstreamHealthView:
        return self._view_of(upstream, self.book.record(upstream.id), seen)

    def _view_of(
        self, upstream: Upstream, record: HealthRecord | None, seen: Mapping[str, Acknowledgement]
    ) -> UpstreamHealthView:
        given = seen.get(upstream.id)
        is_seen = given is not None and record is not None and given.since == record.since
        return UpstreamHealthView(
            upstream_id=upstream.id,
            upstream_name=upstream.name,
            state=record.state if record is not None else HealthState.UNKNOWN,
            since=record.since if record is not None else None,
            reason=record.reason if record is not None else "not_checked_yet",
            detail=record.detail if record is not None else "",
            remedy=record.remedy if record is not None else "",
            checked_at=record.checked_at if record is not None else None,
            ok_at=record.ok_at if record is not None else None,
            failures=record.failures if record is not None else 0,
            breaks_at=record.breaks_at if record is not None else None,
            outage_budget_seconds=_budget(record, self.clock.now()),
            token=_token(record),
            acknowledgement=AcknowledgementView.model_validate(given) if is_seen else None,
        )


def _token(record: HealthRecord | None) -> TokenLifeView | None:
    if record is None or record.token is None:
        return None
    return TokenLifeView.model_validate(record.token)


def _budget(record: HealthRecord | None, now: datetime) -> float | None:
    """Return how many seconds of the token's life are left."""
    if record is None or record.token is None or record.token.not_after is None:
        return None
    return max(0.0, round((record.token.not_after - now).total_seconds(), 1))
