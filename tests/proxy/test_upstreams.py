"""Clients of upstreams are lent, replaced when the record changes, and closed by whoever uses them last."""

import asyncio
from dataclasses import dataclass, field
from typing import cast

import aiohttp

from tests.proxy.proxy_world import FakeBroker
from tests.support.clock import ManualClock
from tests.support.wait import eventually
from vreg_proxy.credentials import LeaseDesk
from vreg_proxy.lease_cache import LeaseCache
from vreg_proxy.rate_limits import RateLimits
from vreg_proxy.resolution import Candidate
from vreg_proxy.upstreams import Upstreams
from vreg_shared.messages.registry import MembershipRecord
from vreg_shared.messages.upstream import UpstreamRecord
from vreg_shared.oci.reference import RepositoryName
from vreg_shared.providers.basic.registry import OCI
from vreg_shared.registry_client import Target
from vreg_shared.sealing import SealingKey


@dataclass(eq=False)
class SlowSession:
    """Takes its time to close."""

    host: str
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    may_close: asyncio.Event = field(default_factory=asyncio.Event)

    async def close(self) -> None:
        self.closed.set()
        await self.may_close.wait()


async def test_a_client_just_made_is_not_closed_by_the_next_change() -> None:
    sessions: list[SlowSession] = []

    def open_session(target: Target, _private_ca: str | None) -> aiohttp.ClientSession:
        sessions.append(SlowSession(target.host))
        return cast("aiohttp.ClientSession", sessions[-1])

    clock = ManualClock()
    desk = LeaseDesk(LeaseCache(SealingKey.generate(), clock), FakeBroker(), clock)
    upstreams = Upstreams(open_session, desk, RateLimits(clock), clock)

    async def use(host: str) -> None:
        async with upstreams.client(candidate(host)):
            assert not any(session.closed.is_set() for session in sessions if session.host == host)

    await use("one.example.com")
    async with asyncio.TaskGroup() as group:
        group.create_task(use("two.example.com"))
        await sessions[0].closed.wait()
        group.create_task(use("three.example.com"))
        await eventually(lambda: sessions[-1].host == "three.example.com")
        for session in sessions:
            session.may_close.set()
    assert [session.closed.is_set() for session in sessions] == [True, True, False]


async def test_another_prefix_needs_another_client_for_leases_may_be_bound_to_it() -> None:
    hosts: list[str] = []

    def open_session(target: Target, _private_ca: str | None) -> aiohttp.ClientSession:
        hosts.append(target.host)
        session = SlowSession(target.host)
        session.may_close.set()
        return cast("aiohttp.ClientSession", session)

    clock = ManualClock()
    desk = LeaseDesk(LeaseCache(SealingKey.generate(), clock), FakeBroker(), clock)
    upstreams = Upstreams(open_session, desk, RateLimits(clock), clock)
    for prefix in ("", "", "mirror", "mirror"):
        async with upstreams.client(candidate("one.example.com", prefix)):
            pass
    assert len(hosts) == 2


def candidate(host: str, prefix: str = "") -> Candidate:
    upstream = UpstreamRecord(id="u", name="u", kind="oci", host=host, repository_prefix=prefix)
    return Candidate(upstream, OCI, MembershipRecord(upstream_id="u"), RepositoryName("team/app"))
