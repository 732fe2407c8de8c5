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
from vreg_api.store.database import Database, DatabaseUnavailableError
from vreg_api.upstreams.store import Upstream, UpstreamStore
from vreg_api.virtual_registries.store import VirtualRegistry, VirtualRegistryStore
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
    upstreams: UpstreamStore
    registries: VirtualRegistryStore
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

    async def summary(self) -> HealthSummary:
        """Return how many upstreams are in which state."""
        async with self.database.read() as tx:
            identifiers = await self.upstreams.ids(tx)
        states = dict.fromkeys(HealthState, 0)
        for identifier in identifiers:
            record = self.book.record(identifier)
            states[record.state if record is not None else HealthState.UNKNOWN] += 1
        return HealthSummary(states=states, is_current=self.is_current())

    async def page(self, asked: PageRequest) -> Sequence[UpstreamHealthView]:
        """Return a page of upstreams' health, and one more if there is one."""
        async with self.database.read() as tx:
            upstreams = await self.upstreams.page(tx, asked)
            seen = await self.store.acknowledgements(tx)
        return [self._view(upstream, seen) for upstream in upstreams]

    async def of_upstream(self, identifier: str) -> UpstreamHealthView:
        """Return one upstream's health."""
        async with self.database.read() as tx:
            upstream = await self.upstreams.find(tx, identifier)
            if upstream is None:
                raise problems.not_found("upstream", identifier)
            return self._view(upstream, await self.store.acknowledgements(tx))

    async def history(self, identifier: str) -> Sequence[HealthChange]:
        """Return an upstream's latest states, the latest first."""
        await self.of_upstream(identifier)
        async with self.database.read() as tx:
            return await self.store.changes(tx, identifier, HISTORY)

    async def registries_page(self, asked: PageRequest) -> Sequence[RegistryHealthView]:
        """Return a page of virtual registries' health, and one more if there is one."""
        async with self.database.read() as tx:
            registries = await self.registries.page(tx, asked)
            seen = await self.store.acknowledgements(tx)
            views = []
            for registry in registries:
                members = [await self.upstreams.find(tx, each.upstream_id) for each in registry.memberships]
                views.append(self._registry(registry, [each for each in members if each], seen))
        return views

    async def of_registry(self, identifier: str) -> RegistryHealthView:
        """Return one virtual registry's health."""
        async with self.database.read() as tx:
            registry = await self.registries.find(tx, identifier)
            if registry is None:
                raise problems.not_found("virtual registry", identifier)
            members = [await self.upstreams.find(tx, each.upstream_id) for each in registry.memberships]
            seen = await self.store.acknowledgements(tx)
        return self._registry(registry, [each for each in members if each], seen)

    async def acknowledge(self, identifier: str, note: str, actor: Actor) -> UpstreamHealthView:
        """Say that somebody has seen an upstream's state, as it is now."""
        view = await self.of_upstream(identifier)
        if view.since is None:
            raise problems.invalid("upstream_id", "unknown", "nobody has told of its health yet")
        given = Acknowledgement(
            upstream_id=identifier, since=view.since, by=actor.name, at=self.clock.now(), note=note
        )
        async with self.database.write(is_news=False) as tx:
            await self.store.acknowledge(tx, given)
        return await self.of_upstream(identifier)

    async def follow(self) -> AsyncIterator[UpstreamHealthView]:
        """Give every change from now on."""
        position = self.book.position
        while True:
            position, news = await self.book.news_after(position)
            async with self.database.read() as tx:
                seen = await self.store.acknowledgements(tx)
                named = [(await self.upstreams.find(tx, each.upstream_id), each) for each in news]
            for upstream, record in named:
                if upstream is not None:
                    yield self._view_of(upstream, record, seen)

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
