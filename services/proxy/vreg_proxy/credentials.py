"""Leases for upstreams: the one that is here, or one asked of the broker, once for all who wait for it."""

import asyncio
from typing import Final, Protocol

from vreg_proxy.lease_cache import LeaseCache
from vreg_shared.clock import Clock
from vreg_shared.errors import VregError
from vreg_shared.lease import Generation, Lease, LeaseNeed
from vreg_shared.messages.refresh import RefreshReply, RefreshRequest
from vreg_shared.provider import Answer, Verdict
from vreg_shared.registry_client import CredentialUnavailableError
from vreg_shared.registry_client.single_flight import SingleFlight

ARRIVAL_SECONDS: Final = 5.0
"""How long a lease the broker calls issued may take to come over the bus."""
CALM_SECONDS: Final = 2.0
"""A scope whose last question failed, or whose fresh lease was refused, is left in peace for so long."""
LONGEST_CALM_SECONDS: Final = 15.0
RETRY_AFTER_SECONDS: Final = 5.0


class BrokerUnavailableError(VregError):
    """The broker did not answer; the text says why."""


class Broker(Protocol):
    """Who makes leases."""

    async def refresh(self, request: RefreshRequest) -> RefreshReply:
        """Ask for a lease newer than the refused one; raise BrokerUnavailableError."""
        ...


class LeaseDesk:
    """Where all upstreams ask for leases: questions about one scope are put to the broker once."""

    def __init__(self, leases: LeaseCache, broker: Broker, clock: Clock) -> None:
        self._leases = leases
        self._broker = broker
        self._clock = clock
        self._questions: SingleFlight[tuple[str, LeaseNeed, Generation | None], Lease] = SingleFlight()
        self._failures: dict[str, tuple[float, Verdict]] = {}
        self._arrivals: dict[str, tuple[float, Generation]] = {}
        self._dead: dict[tuple[str, LeaseNeed], tuple[float, Generation, Verdict]] = {}

    def current(self, scope: str, need: LeaseNeed) -> Lease | None:
        """Return the lease that is here, if it meets `need`.

        One that was refused there just now, and that a person must mend, is not shown to it with every pull:
        registries lock accounts for that. Raises CredentialUnavailableError instead.
        """
        lease = self.kept(scope, None, need)
        refused_at, generation, verdict = self._dead.get((scope, need), (float("-inf"), None, None))
        if lease is None or verdict is None or lease.generation != generation:
            return lease
        if self._clock.monotonic() < refused_at + CALM_SECONDS:
            raise CredentialUnavailableError(verdict)
        return lease

    def kept(self, scope: str, refused: Generation | None, need: LeaseNeed) -> Lease | None:
        """Return the lease that is here, if it meets `need` and is newer than the refused one."""
        lease = self._leases.get(scope)
        return lease if lease is not None and self._leases.serves(lease, refused, need) else None

    async def obtain(
        self, upstream_id: str, scope: str, refused: Generation | None, need: LeaseNeed
    ) -> Lease:
        """Return a lease newer than the refused one; raise CredentialUnavailableError."""
        lease = self.kept(scope, refused, need)
        if lease is not None:
            return lease
        self._check_calm(scope, refused)
        return await self._questions.run(
            (scope, need, refused), lambda: self._ask(upstream_id, scope, refused, need)
        )

    def _check_calm(self, scope: str, refused: Generation | None) -> None:
        now = self._clock.monotonic()
        failed_at, verdict = self._failures.get(scope, (float("-inf"), None))
        if verdict is not None and now < failed_at + min(
            max(CALM_SECONDS, verdict.retry_after or 0.0), LONGEST_CALM_SECONDS
        ):
            raise CredentialUnavailableError(verdict)
        arrived_at, generation = self._arrivals.get(scope, (float("-inf"), None))
        if refused is not None and refused == generation and now < arrived_at + CALM_SECONDS:
            raise CredentialUnavailableError(
                Verdict(Answer.REFUSED, "credential_rejected", detail="a lease made just now was refused")
            )

    async def _ask(self, upstream_id: str, scope: str, refused: Generation | None, need: LeaseNeed) -> Lease:
        expected = refused if refused is not None else self._ended(scope)
        request = RefreshRequest(
            upstream_id=upstream_id, refused_generation=str(expected) if expected is not None else None
        )
        try:
            _check_issued(await self._broker.refresh(request))
            async with asyncio.timeout(ARRIVAL_SECONDS):
                lease = await self._leases.newer(scope, refused, need)
        except BrokerUnavailableError as error:
            raise self._failed(scope, _unavailable(str(error))) from error
        except TimeoutError as error:
            raise self._failed(scope, _unavailable("a lease was issued and did not arrive")) from error
        except CredentialUnavailableError as error:
            if refused is not None and error.verdict.answer is Answer.REFUSED:
                self._dead[scope, need] = (self._clock.monotonic(), refused, error.verdict)
            raise self._failed(scope, error.verdict) from error
        self._failures.pop(scope, None)
        self._arrivals[scope] = (self._clock.monotonic(), lease.generation)
        return lease

    def _ended(self, scope: str) -> Generation | None:
        """Return the generation of a lease that ended by its own account, for only that needs an exchange."""
        lease = self._leases.get(scope)
        return None if lease is None or self._leases.is_usable(lease) else lease.generation

    def _failed(self, scope: str, verdict: Verdict) -> CredentialUnavailableError:
        self._failures[scope] = (self._clock.monotonic(), verdict)
        return CredentialUnavailableError(verdict)


class LeasedCredentials:
    """The credentials of one upstream."""

    def __init__(self, desk: LeaseDesk, upstream_id: str, scope: str, need: LeaseNeed) -> None:
        self._desk = desk
        self._upstream_id = upstream_id
        self._scope = scope
        self._need = need

    async def current(self) -> Lease | None:
        """Return the lease to use; raise CredentialUnavailableError."""
        kept = self._desk.current(self._scope, self._need)
        return kept or await self._desk.obtain(self._upstream_id, self._scope, None, self._need)

    async def replace(self, refused: Generation) -> Lease:
        """Return a lease newer than the refused one; raise CredentialUnavailableError."""
        return await self._desk.obtain(self._upstream_id, self._scope, refused, self._need)


def _check_issued(reply: RefreshReply) -> None:
    if reply.outcome != "issued":
        raise CredentialUnavailableError(_verdict(reply))


def _verdict(reply: RefreshReply) -> Verdict:
    if reply.outcome == "refused":
        return Verdict(Answer.REFUSED, reply.reason or "exchange_refused", detail=reply.detail)
    retry_after = reply.retry_after or RETRY_AFTER_SECONDS
    reason = "upstream_auth_unavailable"
    return Verdict(
        Answer.UNAVAILABLE, reason, retry_after=retry_after, detail=f"{reply.reason} {reply.detail}"
    )


def _unavailable(detail: str) -> Verdict:
    return Verdict(
        Answer.UNAVAILABLE, "upstream_auth_unavailable", retry_after=RETRY_AFTER_SECONDS, detail=detail
    )
