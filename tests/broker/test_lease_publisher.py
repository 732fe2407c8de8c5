"""What the bus gets of a broker: the newest there is of every scope, and only while that broker leads."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from tests.broker.world import settle
from vreg_shared.bus import BusUnavailableError
from vreg_shared.lease import Generation, Lease, RegistryCredential
from vreg_shared.messages.lease import BUCKET, key_of
from vreg_shared.messages.record import decode
from vreg_shared.provider import Presentation
from vreg_shared.sealing import SealingKey
from vreg_shared.secret import Secret
from vreg_shared.signing import SigningKey
from vreg_token_broker.lease_publisher import LeasePublisher

SCOPE = "idn1/aws/eu-west-1"
KEY = key_of(SCOPE)
LEASE = Lease(
    scope=SCOPE,
    identity_id="idn1",
    hosts=("123456789012.dkr.ecr.eu-west-1.amazonaws.com",),
    generation=Generation(1, 100, "a"),
    issued_at=datetime(2026, 1, 1, tzinfo=UTC),
    refresh_at=None,
    not_after=None,
    credential=RegistryCredential("AWS", Secret("canary"), Presentation.BASIC),
)


@dataclass
class FakeBus:
    """Keeps what it was given, when it is there."""

    values: list[bytes] = field(default_factory=list)
    deadlines: list[float] = field(default_factory=list)
    is_away: bool = False

    async def put(self, bucket: str, key: str, value: bytes, *, deadline: float) -> None:
        assert (bucket, key) == (BUCKET, KEY)
        self.deadlines.append(deadline)
        await asyncio.sleep(0)
        if self.is_away:
            raise BusUnavailableError("away")
        self.values.append(value)


@dataclass
class Tenure:
    """How long this broker still leads."""

    seconds_left: float = 5.0


class Desk:
    """A publisher on a bus that remembers."""

    def __init__(self) -> None:
        self.bus, self.tenure, self._key = FakeBus(), Tenure(), SigningKey.generate()
        proxies = SealingKey.generate().public
        self.publisher = LeasePublisher(self.bus, self._key, proxies, self.tenure)

    def versions(self) -> list[int]:
        return [decode(value, self._key.verifying, BUCKET, KEY).version for value in self.bus.values]

    def publish(self, instant_ms: int) -> None:
        self.publisher.publish(replace(LEASE, generation=Generation(1, instant_ms, "a")))


@asynccontextmanager
async def desk() -> AsyncIterator[Desk]:
    opened = Desk()
    running = asyncio.create_task(opened.publisher.run())
    try:
        yield opened
    finally:
        running.cancel()


async def test_a_standby_puts_nothing_on_the_bus() -> None:
    async with desk() as opened:
        opened.tenure.seconds_left = 0.0
        opened.publish(100)
        await settle()
        await opened.publisher.finish()
        assert opened.bus.values == []
        opened.tenure.seconds_left = 5.0
        await opened.publisher.finish()
        assert opened.versions() == [100]


async def test_what_another_leader_overtook_is_never_published() -> None:
    async with desk() as opened:
        opened.tenure.seconds_left = 0.0
        opened.publish(100)
        opened.publisher.forget_waiting()
        opened.tenure.seconds_left = 5.0
        opened.publisher.repeat(SCOPE)
        await opened.publisher.finish()
        assert opened.bus.values == []


async def test_a_newer_record_that_was_heard_of_takes_the_place_of_one_that_waits() -> None:
    async with desk() as opened:
        opened.tenure.seconds_left = 0.0
        opened.publish(100)
        opened.publisher.found(KEY, 101, b"another broker's")
        opened.publish(99)
        opened.tenure.seconds_left = 5.0
        await opened.publisher.finish()
        assert opened.bus.values == []


async def test_what_was_found_is_repeated_byte_for_byte() -> None:
    async with desk() as opened:
        opened.publisher.found(KEY, 100, b"another broker's")
        opened.publisher.found(KEY, 99, b"an older one")
        opened.publisher.repeat(SCOPE)
        await settle()
        await opened.publisher.repeat_all()
        await settle()
        assert opened.bus.values == [b"another broker's"] * 2


async def test_an_older_record_comes_in_no_newer_ones_place_though_the_bus_was_away() -> None:
    async with desk() as opened:
        opened.bus.is_away = True
        opened.publish(100)
        finishing = asyncio.create_task(opened.publisher.finish())
        await asyncio.sleep(0)
        opened.publisher.found(KEY, 101, b"another broker's")
        await finishing
        opened.bus.is_away = False
        await opened.publisher.finish()
        assert opened.bus.values == []


async def test_no_try_lasts_longer_than_the_tenure() -> None:
    async with desk() as opened:
        opened.tenure.seconds_left = 0.25
        opened.publish(100)
        await settle()
        assert opened.bus.deadlines == [0.25]
