"""One registry client and one session for each upstream, made anew when its record changes."""

from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp

from vreg_proxy.credentials import LeasedCredentials, LeaseDesk
from vreg_proxy.rate_limits import RateLimits
from vreg_proxy.resolution import Candidate
from vreg_shared.clock import Clock
from vreg_shared.egress import EgressRefusedError, InvalidAuthorityError
from vreg_shared.errors import VregError
from vreg_shared.lease import LeaseNeed
from vreg_shared.messages.lease import key_of
from vreg_shared.messages.upstream import UpstreamRecord
from vreg_shared.private_ca import InvalidPrivateCaError, fingerprints
from vreg_shared.provider import Answer, RegistryKind, Verdict
from vreg_shared.registry_client import Credentials, FixedCredentials, RegistryClient, Target

OpenSession = Callable[[Target, str | None], aiohttp.ClientSession]
"""(target, private CA as PEM) to a session that may connect where this upstream needs to."""


class UpstreamUnusableError(VregError):
    """An upstream's own configuration keeps us from speaking to it; `verdict` says why."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(f"the upstream cannot be spoken to: {verdict.reason}")
        self.verdict = verdict


@dataclass(slots=True)
class _Open:
    """A client in use by `users` requests. A retired one is closed when the last of them leaves."""

    connection: tuple[object, ...]
    client: RegistryClient
    session: aiohttp.ClientSession
    users: int = 0
    retired: bool = field(default=False)


class Upstreams:
    """Lends clients. `open_session` decides where they may connect."""

    def __init__(
        self, open_session: OpenSession, desk: LeaseDesk, rate_limits: RateLimits, clock: Clock
    ) -> None:
        self._open_session = open_session
        self._desk = desk
        self._rate_limits = rate_limits
        self._clock = clock
        self._open: dict[str, _Open] = {}
        self._all: set[aiohttp.ClientSession] = set()
        self._by_lease: dict[str, set[str]] = {}

    def using_lease(self, key: str) -> Collection[str]:
        """Return the upstreams that were spoken to with a lease of this key, by any of their records."""
        return self._by_lease.get(key, frozenset())

    @asynccontextmanager
    async def client(self, candidate: Candidate) -> AsyncIterator[RegistryClient]:
        """Lend the client of a candidate's upstream; raise UpstreamUnusableError."""
        async with self.client_of(candidate.upstream, candidate.kind) as client:
            yield client

    @asynccontextmanager
    async def client_of(self, upstream: UpstreamRecord, kind: RegistryKind) -> AsyncIterator[RegistryClient]:
        """Lend the client of an upstream as its record now is; raise UpstreamUnusableError."""
        lent, replaced = self._current(upstream, kind)
        lent.users += 1
        try:
            if replaced is not None:
                await self._close_if_done(replaced)
            yield lent.client
        finally:
            lent.users -= 1
            await self._close_if_done(lent)

    async def close(self) -> None:
        """Close every session, used or not."""
        self._open.clear()
        while self._all:
            await self._all.pop().close()

    def _current(self, upstream: UpstreamRecord, kind: RegistryKind) -> tuple[_Open, _Open | None]:
        """Return the client to lend, and the one it has just replaced, if any."""
        connection = _connection(upstream)
        found = self._open.get(upstream.id)
        if found is not None and found.connection == connection:
            return found, None
        made = self._make(upstream, kind, connection)
        self._open[upstream.id] = made
        if found is not None:
            found.retired = True
        return made, found

    def _make(self, upstream: UpstreamRecord, kind: RegistryKind, connection: tuple[object, ...]) -> _Open:
        target = Target(upstream.id, kind, upstream.host, upstream.token_realm)
        try:
            credentials = self._credentials(upstream, kind)
            session = self._open_session(target, upstream.private_ca)
        except (InvalidPrivateCaError, InvalidAuthorityError) as error:
            raise UpstreamUnusableError(
                Verdict(Answer.UNAVAILABLE, "private_ca_unreadable", detail=str(error))
            ) from error
        except EgressRefusedError as error:
            raise UpstreamUnusableError(
                Verdict(Answer.UNAVAILABLE, "egress_refused", detail=str(error))
            ) from error
        self._all.add(session)
        listener = self._rate_limits.listener(upstream.id)
        client = RegistryClient(target, session, credentials, self._clock, listener)
        return _Open(connection, client, session)

    def _credentials(self, upstream: UpstreamRecord, kind: RegistryKind) -> Credentials:
        if upstream.identity_id is None:
            return FixedCredentials()
        scope = kind.lease_scope(upstream.identity_id, upstream.host)
        self._by_lease.setdefault(key_of(scope), set()).add(upstream.id)
        prefix = kind.lease_repositories(upstream.repository_prefix)
        need = LeaseNeed(upstream.host, prefix, fingerprints(upstream.private_ca))
        return LeasedCredentials(self._desk, upstream.id, scope, need)

    async def _close_if_done(self, lent: _Open) -> None:
        if lent.retired and not lent.users:
            self._all.discard(lent.session)
            await lent.session.close()


def _connection(upstream: UpstreamRecord) -> tuple[object, ...]:
    """Return what a client is made of: another value needs another client."""
    return (
        upstream.kind,
        upstream.host,
        upstream.identity_id,
        upstream.repository_prefix,
        upstream.token_realm,
        upstream.private_ca,
    )
