"""One lease scope: keeps its lease fresh, one exchange at a time, and answers for it."""

import asyncio
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

import structlog

from vreg_shared.clock import Clock
from vreg_shared.lease import Generation, Lease, LeaseNeed
from vreg_token_broker import schedule
from vreg_token_broker.exchange import Issued, Outcome, Refused, Unavailable
from vreg_token_broker.generations import Generations
from vreg_token_broker.lease_book import Plan
from vreg_token_broker.waits import Waits

_log = structlog.get_logger(__name__)


class Publishes(Protocol):
    """Where leases go."""

    def publish(self, lease: Lease) -> None:
        """Have a new lease published."""
        ...

    def repeat(self, scope: str) -> None:
        """Have the latest lease of a scope published again."""
        ...


@dataclass(frozen=True, slots=True)
class KeeperWorld:
    """What every keeper works with."""

    publisher: Publishes
    generations: Generations
    clock: Clock
    waits: Waits


Climb = Callable[[Plan, str], asyncio.Task[Outcome]]
"""Begins an exchange for a plan, naming the trigger; the task ends by an outcome that is on record."""

FIRST: Final = "first"
SCHEDULED: Final = "scheduled"
RETRY: Final = "retry"
CHANGED: Final = "identity_changed"
FORCED: Final = "refused_by_upstream"


@dataclass(frozen=True, slots=True)
class Told:
    """What an asker is told: a generation, or why there is none and when to ask again (seconds)."""

    generation: Generation | None = None
    failure: Refused | Unavailable | None = None
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """How a lease stands: the last one, why its refresh failed and how often in a row, and the next try."""

    lease: Lease | None = None
    failure: Refused | Unavailable | None = None
    failures: int = 0
    seconds_left: float | None = None


class Keeper:
    """Owns one scope's lease. `run` makes every exchange; other methods only change what it does next."""

    def __init__(self, plan: Plan, climb: Climb, world: KeeperWorld, inherited: Lease | None = None) -> None:
        """`inherited` is a lease that another broker got with the plan's proof; its secret is not known."""
        self.plan = plan
        self.lease: Lease | None = None
        self._climb = climb
        self._publisher = world.publisher
        self._generations = world.generations
        self._clock = world.clock
        self._waits = world.waits
        self._minted: Generation | None = None
        """The first generation that carried the present credential: later ones only changed its hosts."""
        self._proved_by: tuple[Any, ...] = ()
        """The proof that the present credential was got with: it may go nowhere that this did not permit."""
        self._due: float | None = world.clock.monotonic()
        self._trigger = FIRST
        self._failure: Refused | Unavailable | None = None
        self._failures = 0
        self._failed_at: deque[float] = deque(maxlen=schedule.FAILURES_PER_MINUTE)
        self._is_climbing = False
        self._is_ending = False
        self._forced_at = float("-inf")
        self._forced_gap = 0.0
        self._wake = asyncio.Event()
        self._settled = asyncio.Event()
        self._is_inherited = inherited is not None
        if inherited is not None:
            self._inherit(inherited)

    async def run(self) -> None:
        """Exchange whenever it is due, until told to end."""
        while not self._is_ending:
            seconds = None if self._due is None else self._due - self._clock.monotonic()
            if seconds is None or seconds > 0:
                self._wake.clear()
                await self._waits.wait(self._wake, seconds)
                continue
            await self._attempt()

    @property
    def standing(self) -> Standing:
        """How the lease stands now."""
        left = self._seconds_left(self._clock.monotonic())
        return Standing(self.lease, self._failure, self._failures, left)

    def end(self) -> None:
        """Begin no other exchange: `run` returns, after the one under way if there is one."""
        self._is_ending = True
        self._wake.set()

    def change(self, plan: Plan) -> None:
        """Follow a changed plan: another proof means an exchange at once, other hosts only another record."""
        before, self.plan = self.plan, plan
        if plan.proof != before.proof:
            self._failure, self._failures = None, 0
            self._plan_attempt(self._clock.monotonic(), CHANGED)
        if self.lease is not None:
            bound = self._bound(self.lease)
            if bound != self.lease and self._is_inherited:
                self._plan_attempt(self._clock.monotonic(), CHANGED)  # it cannot be sealed anew
            elif bound != self.lease:
                self._adopt(replace(bound, generation=self._next_generation()))

    async def ask(self, refused: Generation | None, need: LeaseNeed) -> Told:
        """Answer an upstream's asker; waits for an exchange if one is needed, so give it a deadline.

        Only a refusal of the very credential we hold forces an exchange, and never two at once or soon
        after each other: everybody else is told of the newer lease, or joins.
        """
        if refused is not None:
            self._generations.named(self.plan.scope, refused)
        if self._holds_newer_than(refused, need):
            self._publisher.repeat(self.plan.scope)
            return Told(self.lease.generation if self.lease is not None else None)
        now = self._clock.monotonic()
        if not self._is_climbing and not self._is_due(now):
            if self._failure is not None and not self._is_worth_another_try(now):
                return Told(failure=self._failure, retry_after=self._seconds_left(now))
            wait = self._force(now)
            if wait > 0:
                failure = Unavailable("rate_limited", "a lease made just now was refused")
                return Told(failure=failure, retry_after=wait)
        await self._settled.wait()
        if self._holds_newer_than(refused, need):
            return Told(self.lease.generation if self.lease is not None else None)
        why = self._failure or Unavailable("superseded", "the identity changed meanwhile")
        return Told(failure=why, retry_after=self._seconds_left(self._clock.monotonic()))

    def _inherit(self, lease: Lease) -> None:
        """Go on where another broker left off."""
        self.lease, self._minted, self._proved_by = lease, lease.generation, self.plan.proof
        self._due, self._trigger = None, SCHEDULED
        if lease.refresh_at is not None:
            wait = (lease.refresh_at - self._clock.now()).total_seconds()
            self._due = self._clock.monotonic() + max(wait, 0.0)

    def _bound(self, lease: Lease) -> Lease:
        """Return the lease bound to where the plan wants it: no further than its identity's proof permits."""
        plan = self.plan
        if self._proved_by == plan.proof:
            private_cas = plan.private_ca_sha256
            return replace(
                lease, hosts=plan.hosts, repositories=plan.repositories, private_ca_sha256=private_cas
            )
        kept = tuple(each for each in lease.private_ca_sha256 if each in plan.private_ca_sha256)
        lease = replace(lease, private_ca_sha256=kept)
        hosts = tuple(host for host in lease.hosts if host in plan.hosts)
        if not plan.repositories:
            return replace(lease, hosts=hosts)
        held = lease.repositories or plan.repositories
        repositories = tuple(prefix for prefix in held if prefix in plan.repositories)
        return replace(lease, hosts=hosts if repositories else (), repositories=repositories)

    def _holds_newer_than(self, refused: Generation | None, need: LeaseNeed) -> bool:
        """Whether our credential is another than the refused one, and meets `need` now."""
        lease = self.lease
        if lease is None or self._minted is None or not lease.is_usable(self._clock.now()):
            return False
        return lease.meets(need) and (refused is None or refused < self._minted)

    def _is_due(self, now: float) -> bool:
        return self._due is not None and self._due <= now

    def _is_worth_another_try(self, now: float) -> bool:
        """Whether somebody waits and the last failure is so old that a person may have mended it."""
        is_final = isinstance(self._failure, Refused) and self._failure.is_final
        old = not self._failed_at or now - self._failed_at[-1] >= schedule.REFUSED_BASE_SECONDS
        return old and not is_final

    def _seconds_left(self, now: float) -> float | None:
        return None if self._due is None else max(self._due - now, 0.0)

    def _force(self, now: float) -> float:
        """Make an exchange due at once; return how many seconds it is too early for that, 0 if it is not."""
        since = now - self._forced_at
        gap = schedule.forced_gap(self._forced_gap, since)
        if since < gap:
            return gap - since
        self._forced_at, self._forced_gap = now, gap
        self._plan_attempt(now, FORCED)
        return 0.0

    def _plan_attempt(self, due: float | None, trigger: str) -> None:
        self._due, self._trigger = due, trigger
        self._wake.set()

    async def _attempt(self) -> None:
        plan, trigger = self.plan, self._trigger
        self._is_climbing = True
        try:
            outcome = await self._outcome_unless_changed(plan, trigger)
        finally:
            self._is_climbing = False
        if outcome is None:
            return
        if isinstance(outcome, Issued):
            self._issued(plan, outcome, trigger)
        else:
            self._failed(outcome)
        settled, self._settled = self._settled, asyncio.Event()
        settled.set()

    async def _outcome_unless_changed(self, plan: Plan, trigger: str) -> Outcome | None:
        """Return the outcome, or None as soon as the plan's proof is another: then it is of no use."""
        climbing = self._climb(plan, trigger)
        while self.plan.proof == plan.proof:
            self._wake.clear()
            waking = asyncio.ensure_future(self._wake.wait())
            try:
                await asyncio.wait({climbing, waking}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                waking.cancel()
            if climbing.done() and self.plan.proof == plan.proof:
                return climbing.result()
        return None

    def _issued(self, plan: Plan, issued: Issued, trigger: str) -> None:
        self._failures, self._failure = 0, None
        self._failed_at.clear()
        known = None if self._is_inherited else self.lease
        if trigger == FORCED and known is not None and known.credential == issued.credential:
            self._unchanged(known)
            return
        life = None if issued.not_after is None else issued.not_after - issued.issued_at
        wait = None if life is None else schedule.refresh_after(plan.scope, life)
        generation = self._next_generation()
        self._minted, self._proved_by, self._is_inherited = generation, plan.proof, False
        self._plan_attempt(
            None if wait is None else self._clock.monotonic() + wait.total_seconds(), SCHEDULED
        )
        self._adopt(
            Lease(
                scope=plan.scope,
                identity_id=plan.identity.id,
                hosts=self.plan.hosts,
                repositories=self.plan.repositories,
                proof=plan.proof_digest,
                private_ca_sha256=self.plan.private_ca_sha256,
                generation=generation,
                issued_at=issued.issued_at,
                refresh_at=None if wait is None else issued.issued_at + wait,
                not_after=issued.not_after,
                credential=issued.credential,
            )
        )

    def _unchanged(self, lease: Lease) -> None:
        """Call a person: a secret that does not change cannot be refreshed, and a registry refuses it."""
        self._failure = Refused(
            "credential_rejected",
            "the registry refuses the identity's credential, and there is no other",
            "Give the identity the secret that the registry accepts now.",
            is_final=lease.not_after is None,
        )
        again = self._clock.monotonic() + schedule.REFUSED_BASE_SECONDS
        self._plan_attempt(None if lease.not_after is None else again, RETRY)

    def _failed(self, failure: Refused | Unavailable) -> None:
        now = self._clock.monotonic()
        if self._failure is not None and type(self._failure) is not type(failure):
            self._failures = 0
        self._failure, self._failures = failure, self._failures + 1
        self._failed_at.append(now)
        due = self._next_try(failure, now)
        self._plan_attempt(due, RETRY)
        _log.warning(
            "lease_not_refreshed",
            scope=self.plan.scope,
            reason=failure.reason,
            detail=failure.detail,
            failures=self._failures,
            next_try_seconds=None if due is None else round(due - now, 1),
            has_usable_lease=self.lease is not None and self.lease.is_usable(self._clock.now()),
        )

    def _next_try(self, failure: Refused | Unavailable, now: float) -> float | None:
        chance = random.random()  # noqa: S311 - spreads load, guards nothing
        if isinstance(failure, Unavailable):
            wait = schedule.unavailable_delay(self._failures, chance, failure.retry_after)
        elif failure.is_final:
            return None
        else:
            wait = schedule.refused_delay(self._failures, chance)
        return schedule.calm(self._failed_at, now + wait)

    def _next_generation(self) -> Generation:
        return self._generations.next(self.plan.scope, self.plan.identity.credential_version)

    def _adopt(self, lease: Lease) -> None:
        self.lease = lease
        self._publisher.publish(lease)
