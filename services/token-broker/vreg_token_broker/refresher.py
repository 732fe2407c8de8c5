"""Keeps one keeper for every lease scope there is, as identities and upstreams come, change and go."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol

import structlog

from vreg_shared.catalogue import Catalogue
from vreg_shared.lease import Generation, Lease
from vreg_shared.messages.audit_facts import ExchangeRefused, LeaseWithdrawn
from vreg_shared.messages.upstream import UpstreamRecord
from vreg_token_broker.exchange import Exchange, Outcome, Refused, Unavailable
from vreg_token_broker.flights import Flight, Flights, Records
from vreg_token_broker.journal import AuditUnavailableError
from vreg_token_broker.keeper import FIRST, Keeper, KeeperWorld, Publishes, Standing, Told
from vreg_token_broker.lease_book import LeaseBook, Plan
from vreg_token_broker.ledger import REFUSED, WITHDRAWN
from vreg_token_broker.orders import Orders
from vreg_token_broker.runway import Runway, Turns

GRACE_SECONDS: Final = 5.0
KNOWN_SECONDS: Final = 2.0
"""How long an asker may be ahead of us in hearing of an upstream."""
CONNECTION_TEST: Final = "connection_test"
"""What an exchange was made for, in its audit events."""
_STARTING: Final = Unavailable("starting", "the broker has just started", retry_after=1.0)
_log = structlog.get_logger(__name__)


class Withdraws(Publishes, Protocol):
    """Where leases go, and are taken back."""

    def withdraw(self, scope: str, instant_ms: int) -> None:
        """Have a scope's lease deleted."""
        ...


class Inherits(Protocol):
    """What is known of leases that are out already."""

    def inheritable(self, plan: Plan, now: datetime) -> Lease | None:
        """Return the lease that an exchange for this plan would only repeat."""
        ...


@dataclass(frozen=True, slots=True)
class RefresherWorld(KeeperWorld):
    """The same, with a publisher that can take leases back, and what other brokers do."""

    publisher: Withdraws
    inherits: Inherits
    turns: Turns


class Exchanges:
    """Opens an order and hands it to the right cloud's exchange."""

    def __init__(self, catalogue: Catalogue, orders: Orders, exchanges: Mapping[str, Exchange]) -> None:
        self._catalogue = catalogue
        self._orders = orders
        self._exchanges = exchanges

    def flight(self, plan: Plan, trigger: str) -> Flight | Refused:
        """Return what to fly, or why nobody may be asked."""
        order = self._orders.order(plan)
        if isinstance(order, Refused):
            return order
        provider = self._catalogue.provider_of_method(plan.identity.method).name
        return Flight(plan, provider, self._exchanges[provider], order, trigger)


class Refresher:
    """Call `changed` after every change of the book; `ask` answers for an upstream."""

    def __init__(self, book: LeaseBook, exchanges: Exchanges, ledger: Records, world: RefresherWorld) -> None:
        self._book = book
        self._exchanges = exchanges
        self._ledger = ledger
        self._world = world
        self._publisher = world.publisher
        self._keepers: dict[str, Keeper] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._refused: dict[str, tuple[str, str]] = {}
        self._changed = asyncio.Event()
        self._reconciled = asyncio.Event()
        self._flights: Flights | None = None
        self._group: asyncio.TaskGroup | None = None

    def changed(self) -> None:
        """Take note that the book was written in."""
        self._changed.set()

    async def run(self, stopping: asyncio.Event) -> None:
        """Keep leases until told to stop; then let exchanges under way end: a cloud takes nothing back.

        What they bring is still published. It may be run again, and begins with what is out by then.
        """
        self._changed.set()
        runway = Runway(self._world.turns, self._world.clock, self._world.waits)
        async with asyncio.TaskGroup() as flying:
            self._flights = Flights(self._ledger, self._world.clock, flying, runway)
            async with asyncio.TaskGroup() as group:
                self._group = group
                reconciling = group.create_task(self._reconcile_for_ever())
                await stopping.wait()
                self._group = None
                reconciling.cancel()
                for keeper in self._keepers.values():
                    keeper.end()
                await self._flights.finish(GRACE_SECONDS)
        self._flights = None
        self._keepers.clear()
        self._tasks.clear()

    async def ask(self, upstream_id: str, refused: Generation | None) -> Told:
        """Return a generation that is not refused, or why there is none; give it a deadline."""
        upstream = await self._known(upstream_id)
        if upstream is None:
            return Told(failure=Unavailable("upstream_unknown", "the broker has not heard of it yet"))
        place = self._book.place(upstream)
        if place.refused is not None:
            return Told(failure=place.refused)
        keeper = self._keepers.get(place.scope or "")
        if keeper is None:
            is_starting = place.scope is not None
            return Told(failure=_STARTING if is_starting else _why_none(upstream))
        return await keeper.ask(refused, self._book.need(upstream))

    def standing(self, upstream: UpstreamRecord) -> Standing | Refused | None:
        """Return how an upstream's lease stands, or why there can be none; None for one without identity."""
        place = self._book.place(upstream)
        if upstream.identity_id is None or place.refused is not None:
            return place.refused
        keeper = self._keepers.get(place.scope or "")
        return keeper.standing if keeper is not None else Standing()

    async def try_out(self, plan: Plan) -> Outcome:
        """Make one exchange, on record and in its turn, that nothing follows from: for a connection test."""
        if self._flights is None:
            return _STARTING
        return await asyncio.shield(self._climb(plan, CONNECTION_TEST))

    def lease_count(self) -> int:
        """Return how many scopes have a lease that can be used now."""
        now = self._world.clock.now()
        return sum(1 for keeper in self._keepers.values() if keeper.lease and keeper.lease.is_usable(now))

    async def _known(self, upstream_id: str) -> UpstreamRecord | None:
        """Return an upstream once it stands somewhere, or what is known of it after a while."""
        try:
            async with asyncio.timeout(KNOWN_SECONDS):
                while True:
                    heard = self._reconciled
                    if self._changed.is_set():
                        await heard.wait()
                        continue
                    upstream = self._book.upstream(upstream_id)
                    if upstream is not None and self._stands(upstream):
                        return upstream
                    await heard.wait()
        except TimeoutError:
            return self._book.upstream(upstream_id)

    def _stands(self, upstream: UpstreamRecord) -> bool:
        place = self._book.place(upstream)
        return place.refused is not None or place.scope in self._keepers or upstream.identity_id is None

    async def _reconcile_for_ever(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            self._reconcile()
            reconciled, self._reconciled = self._reconciled, asyncio.Event()
            reconciled.set()

    def _reconcile(self) -> None:
        plans = self._book.plans()
        for scope in [scope for scope in self._keepers if scope not in plans]:
            self._withdraw(scope)
        for scope, plan in plans.items():
            keeper = self._keepers.get(scope)
            if keeper is None:
                self._keep(plan)
            else:
                keeper.change(plan)
        self._note_refusals()

    def _keep(self, plan: Plan) -> None:
        # What may not be got again is not gone on with: the operator may have taken a permission back.
        may_be_had = isinstance(self._exchanges.flight(plan, FIRST), Flight)
        inherited = self._world.inherits.inheritable(plan, self._world.clock.now()) if may_be_had else None
        keeper = Keeper(plan, self._climb, self._world, inherited)
        self._keepers[plan.scope] = keeper
        self._tasks[plan.scope] = self._owner().create_task(keeper.run(), name=f"keeper {plan.scope}")

    def _withdraw(self, scope: str) -> None:
        keeper = self._keepers.pop(scope)
        self._tasks.pop(scope).cancel()
        self._publisher.withdraw(scope, self._world.generations.next_instant())
        identity = keeper.plan.identity
        facts = LeaseWithdrawn(scope=scope, hosts=keeper.plan.hosts, identity_name=identity.name)
        self._record(WITHDRAWN, identity.id, facts.told())
        _log.info("lease_withdrawn", scope=scope)

    def _climb(self, plan: Plan, trigger: str) -> asyncio.Task[Outcome]:
        if self._flights is None:
            message = "the refresher is not running"
            raise RuntimeError(message)
        flight = self._exchanges.flight(plan, trigger)
        if isinstance(flight, Refused):
            return self._flights.refuse(plan, flight, trigger)
        return self._flights.start(flight)

    def _note_refusals(self) -> None:
        """Put on record, once, which upstreams no exchange may be made for."""
        refused = {upstream.id: (upstream, why) for upstream, why in self._book.refusals()}
        for upstream_id, (upstream, why) in refused.items():
            if self._refused.get(upstream_id) != (why.reason, why.detail):
                facts = ExchangeRefused(
                    upstream_id=upstream_id,
                    upstream_name=upstream.name,
                    hosts=(upstream.host,),
                    identity_id=upstream.identity_id,
                    outcome="refused",
                    reason=why.reason,
                    detail=why.detail,
                    remedy=why.remedy,
                )
                _log.warning("upstream_refused", upstream=upstream.name, reason=why.reason, remedy=why.remedy)
                self._record(REFUSED, upstream.identity_id or upstream_id, facts.told())
        self._refused = {upstream_id: (why.reason, why.detail) for upstream_id, (_, why) in refused.items()}

    def _record(self, kind: str, subject: str, facts: dict[str, Any]) -> None:
        self._owner().create_task(self._recorded(kind, subject, facts))

    async def _recorded(self, kind: str, subject: str, facts: dict[str, Any]) -> None:
        try:
            await self._ledger.record(kind, subject, facts)
        except AuditUnavailableError:
            return  # logged; nothing in a cloud follows from these

    def _owner(self) -> asyncio.TaskGroup:
        if self._group is None:
            message = "the refresher is not running"
            raise RuntimeError(message)
        return self._group


def _why_none(upstream: UpstreamRecord) -> Refused | Unavailable:
    if upstream.identity_id is None:
        return Refused("no_identity", "the upstream is anonymous", "Give the upstream an identity.")
    if not upstream.enabled:
        return Refused("upstream_disabled", "the upstream is disabled", "Enable the upstream.")
    return Unavailable("identity_unknown", "the broker has not heard of the upstream's identity yet")
