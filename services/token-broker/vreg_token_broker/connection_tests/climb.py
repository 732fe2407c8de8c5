"""The broker's own stages: an identity that may be used here, an exchange, a registry credential."""

from collections.abc import AsyncGenerator
from datetime import datetime
from typing import Protocol

from vreg_shared.catalogue import Catalogue
from vreg_shared.clock import Clock
from vreg_shared.explanations import remedy_of
from vreg_shared.lease import Generation, Lease
from vreg_shared.messages.connection_test import CLIMB, ConnectionOrder, Stage, StageReport
from vreg_shared.messages.identity import IdentityRecord
from vreg_token_broker.exchange import ExchangeOrder, Issued, Outcome, Refused, Unavailable
from vreg_token_broker.lease_book import LeaseBook, Plan

_NOBODY = "connection-test"


class Opens(Protocol):
    """Who opens secrets, and says what may not be asked for."""

    def order(self, plan: Plan) -> ExchangeOrder | Refused:
        """Return what to ask of the exchange, or why nobody may be asked."""
        ...


class TriesOut(Protocol):
    """Who makes exchanges, with everything on record."""

    async def try_out(self, plan: Plan) -> Outcome:
        """Make one exchange that nothing follows from."""
        ...


class Climb:
    """One climb. `lease` is what came of it; it is for this test alone and goes to no other proxy."""

    def __init__(self, catalogue: Catalogue, opens: Opens, exchanges: TriesOut, clock: Clock) -> None:
        self._catalogue = catalogue
        self._opens = opens
        self._exchanges = exchanges
        self._clock = clock
        self.lease: Lease | None = None

    async def reports(self, order: ConnectionOrder) -> AsyncGenerator[StageReport, None]:
        """Give the three stages as they end."""
        if order.identity is None:
            for stage in CLIMB:
                yield StageReport(stage=stage, outcome="skipped", reason="anonymous")
            return
        found = self._plan(order, order.identity)
        if isinstance(found, Refused):
            yield _failed(Stage.IDENTITY, found, 0.0)
            yield StageReport(stage=Stage.EXCHANGE, outcome="skipped", reason="earlier_stage_failed")
            yield StageReport(stage=Stage.CREDENTIAL, outcome="skipped", reason="earlier_stage_failed")
            return
        facts = {"method": found.identity.method, "identity": found.identity.name}
        yield StageReport(stage=Stage.IDENTITY, outcome="passed", facts=facts)
        began = self._clock.monotonic()
        outcome = await self._exchanges.try_out(found)
        seconds = self._clock.monotonic() - began
        for report in self._exchanged(found, outcome, seconds):
            yield report

    def _plan(self, order: ConnectionOrder, identity: IdentityRecord) -> Plan | Refused:
        """Return the lease that this identity would be asked for, read as the book reads all the others."""
        upstream = order.upstream.model_copy(update={"identity_id": identity.id, "enabled": True})
        book = LeaseBook(self._catalogue)
        book.put_identity(identity)
        book.put_upstream(upstream)
        place = book.place(upstream)
        if place.refused is not None:
            return place.refused
        (plan,) = book.plans().values()
        opened = self._opens.order(plan)
        return opened if isinstance(opened, Refused) else plan

    def _exchanged(self, plan: Plan, outcome: Outcome, seconds: float) -> tuple[StageReport, ...]:
        provider = self._catalogue.provider_of_method(plan.identity.method)
        if isinstance(outcome, Issued):
            self.lease = self._lease_of(plan, outcome)
            return (
                StageReport(
                    stage=Stage.EXCHANGE, outcome="passed", seconds=seconds, facts=_facts_of_exchange(outcome)
                ),
                StageReport(
                    stage=Stage.CREDENTIAL, outcome="passed", facts=_facts_of_life(outcome, self._clock.now())
                ),
            )
        if outcome.step in provider.credential_steps:
            return (
                StageReport(stage=Stage.EXCHANGE, outcome="passed"),
                _failed(Stage.CREDENTIAL, outcome, seconds),
            )
        return (
            _failed(Stage.EXCHANGE, outcome, seconds),
            StageReport(stage=Stage.CREDENTIAL, outcome="skipped", reason="earlier_stage_failed"),
        )

    def _lease_of(self, plan: Plan, issued: Issued) -> Lease:
        instant = int(issued.issued_at.timestamp() * 1000)
        return Lease(
            scope=plan.scope,
            identity_id=plan.identity.id,
            hosts=plan.hosts,
            generation=Generation(0, instant, _NOBODY),
            issued_at=issued.issued_at,
            refresh_at=None,
            not_after=issued.not_after,
            credential=issued.credential,
            repositories=plan.repositories,
        )


def _failed(stage: Stage, outcome: Refused | Unavailable, seconds: float) -> StageReport:
    remedy = outcome.remedy if isinstance(outcome, Refused) else ""
    return StageReport(
        stage=stage,
        outcome="failed",
        reason=outcome.reason,
        detail=outcome.detail,
        remedy=remedy or remedy_of(outcome.reason),
        seconds=seconds,
        facts=_facts_of_ids(outcome.request_ids),
    )


def _facts_of_exchange(issued: Issued) -> dict[str, str]:
    principal = {"principal": issued.principal} if issued.principal else {}
    return principal | _facts_of_ids(issued.request_ids)


def _facts_of_ids(request_ids: tuple[str, ...]) -> dict[str, str]:
    return {"request_ids": ", ".join(request_ids)} if request_ids else {}


def _facts_of_life(issued: Issued, now: datetime) -> dict[str, str]:
    if issued.not_after is None:
        return {"not_after": "never, by itself"}
    left = max(0, round((issued.not_after - now).total_seconds()))
    return {"not_after": issued.not_after.isoformat(timespec="seconds"), "seconds_left": str(left)}
