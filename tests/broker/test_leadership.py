"""Who leads, decided over a bucket in memory: elected, confirmed, resigned, deposed, and never unawares."""

import asyncio
from dataclasses import dataclass

from tests.support.clock import ManualClock
from vreg_shared.bus import BusConflictError, BusUnavailableError, Entry
from vreg_shared.signing import SigningKey
from vreg_token_broker.leadership import BUCKET, KEY, TENURE_SECONDS, Candidate, Leadership


@dataclass
class FakeBus:
    """A bucket in memory; `fails` makes claims come to nothing, or be stored without an answer."""

    value: bytes | None = None
    revision: int = 0
    connected: bool = True
    fails: str = ""

    async def claim(self, bucket: str, key: str, value: bytes, *, revision: int, seconds: int) -> int:
        assert (bucket, key, seconds) == (BUCKET, KEY, TENURE_SECONDS)
        if self.fails == "unheard":
            raise BusUnavailableError("no answer")
        if revision != (self.revision if self.value is not None else 0):
            raise BusConflictError("changed meanwhile")
        self.revision += 1
        self.value = value
        if self.fails == "stored":
            raise BusUnavailableError("stored, but nobody says so")
        return self.revision

    async def tell(self, *all_: Leadership) -> None:
        """Let everybody hear who holds the key."""
        if self.value is not None:
            for each in all_:
                await each.heard(Entry(KEY, self.value, self.revision))


class Election:
    """Two candidates, a bus between them, and time that a test moves."""

    def __init__(self) -> None:
        self.bus, self.clock, self._key = FakeBus(), ManualClock(), SigningKey.generate()
        self.first, self.second = self.candidate("first"), self.candidate("second")

    def candidate(self, name: str) -> Leadership:
        """Return a broker that has just started; the same name is the same state folder."""
        return Leadership(self.bus, self._key, Candidate(name, f"holder of {name}"), self.clock)

    async def stand(self, who: Leadership, *, is_told: bool = True) -> None:
        """Let a candidate stand once, as its own loop would, and everybody hear of it."""
        running = asyncio.create_task(who.run())
        for _ in range(5):
            await asyncio.sleep(0)
        running.cancel()
        if is_told:
            await self.bus.tell(self.first, self.second)


async def test_who_comes_first_leads_and_nobody_beside_him() -> None:
    election = Election()
    await election.stand(election.first)
    await election.stand(election.second)
    assert election.first.is_leading
    assert election.first.may_exchange
    assert not election.second.is_leading
    assert not election.second.may_exchange


async def test_a_claim_that_ended_is_free_for_another_and_its_holder_notices() -> None:
    election = Election()
    await election.stand(election.first)
    election.clock.advance(TENURE_SECONDS)
    election.bus.value = None
    assert not election.first.is_leading
    assert not election.first.may_exchange
    await election.stand(election.second)
    assert election.second.is_leading
    await election.stand(election.first)
    assert not election.first.is_leading
    await asyncio.wait_for(election.first.wait_deposed(), 1)


async def test_a_holder_whose_claim_ended_unnoticed_takes_it_again() -> None:
    election = Election()
    await election.stand(election.first)
    election.clock.advance(TENURE_SECONDS)
    election.bus.value = None
    await election.stand(election.first)
    assert election.first.is_leading


async def test_a_claim_that_was_stored_without_an_answer_is_recognised_as_ours() -> None:
    election = Election()
    await election.stand(election.first)
    election.bus.fails = "stored"
    await election.stand(election.first)
    election.bus.fails = ""
    await election.stand(election.first)
    assert election.first.is_leading
    election.clock.advance(TENURE_SECONDS - 1)
    assert election.first.is_leading


async def test_who_resigns_is_followed_at_once() -> None:
    election = Election()
    await election.stand(election.first)
    await election.first.resign()
    await election.bus.tell(election.first, election.second)
    assert not election.first.is_leading
    await election.stand(election.second)
    assert election.second.is_leading


async def test_the_same_broker_started_again_takes_its_own_place() -> None:
    election = Election()
    await election.stand(election.first)
    again = election.candidate("first")
    await election.bus.tell(again)
    await election.stand(again)
    assert again.is_leading


async def test_a_leader_without_a_bus_goes_on_exchanging_and_publishes_nothing() -> None:
    election = Election()
    await election.stand(election.first)
    election.bus.connected, election.bus.fails = False, "unheard"
    await election.stand(election.first)
    election.clock.advance(TENURE_SECONDS + 1)
    await election.stand(election.first)
    assert not election.first.is_leading
    assert election.first.may_exchange
    assert not election.second.may_exchange


async def test_a_leader_that_was_paused_until_the_bus_hung_up_may_do_nothing() -> None:
    election = Election()
    await election.stand(election.first)
    election.clock.advance(TENURE_SECONDS + 5)
    election.bus.connected = False
    for _ in range(2):
        assert not election.first.is_leading
        assert not election.first.may_exchange
        await election.stand(election.first)


async def test_who_loses_a_bus_that_forgot_everything_to_another_leads_no_more() -> None:
    election = Election()
    for _ in range(3):
        await election.stand(election.first)
    election.bus.value, election.bus.revision = None, 0
    await election.stand(election.second)
    await election.stand(election.first)
    assert election.second.is_leading
    assert not election.first.is_leading
    await asyncio.wait_for(election.first.wait_deposed(), 1)


async def test_who_never_hears_of_his_successor_still_gives_way() -> None:
    election = Election()
    await election.stand(election.first)
    election.clock.advance(TENURE_SECONDS)
    election.bus.value = None
    await election.stand(election.second, is_told=False)
    await election.stand(election.first, is_told=False)
    assert election.second.is_leading
    await asyncio.wait_for(election.first.wait_deposed(), 1)


async def test_a_resignation_finds_a_claim_that_was_stored_without_an_answer() -> None:
    election = Election()
    await election.stand(election.first)
    election.bus.fails = "stored"
    await election.stand(election.first)
    election.bus.fails = ""
    await election.first.resign()
    await election.bus.tell(election.second)
    await election.stand(election.second)
    assert election.second.is_leading


async def test_a_key_that_no_broker_signed_keeps_nobody_from_leading() -> None:
    election = Election()
    election.bus.value, election.bus.revision = b'{"holder": "a stranger"}', 7
    await election.bus.tell(election.first)
    await election.stand(election.first)
    assert election.first.is_leading
