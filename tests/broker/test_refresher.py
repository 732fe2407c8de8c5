import asyncio

import pytest

from tests.broker.world import (
    HOST,
    OTHER_HOST,
    PASSWORD,
    BrokerWorld,
    identity,
    settle,
    upstream,
)
from vreg_shared.lease import Generation
from vreg_shared.sealing import SealingKey
from vreg_token_broker.exchange import Refused, Unavailable
from vreg_token_broker.keeper import Told

TWELVE_HOURS = 12 * 3600.0

AUTH = "https://auth.example.com/token"


async def test_upstreams_of_one_account_and_region_share_one_exchange() -> None:
    async with BrokerWorld() as world:
        await world.add(HOST, OTHER_HOST, HOST)
        assert len(world.exchange.orders) == 1
        assert world.lease.hosts == (HOST, OTHER_HOST)


async def test_an_intent_and_an_outcome_stand_around_every_exchange() -> None:
    async with BrokerWorld() as world:
        await world.add(HOST)
        assert world.ledger.kinds() == ["exchange.intent", "exchange.outcome"]
        (_, subject, intent), (_, _, outcome) = world.ledger.events
        assert subject == "idn1"
        assert intent["exchange_id"] == outcome["exchange_id"]
        assert outcome["outcome"] == "issued"
        assert "token-1" not in str(world.ledger.events)
        assert "canary" not in str(world.ledger.events)


@pytest.mark.parametrize("life", [3.0, 60.0, 900.0, TWELVE_HOURS])
async def test_ten_lives_long_there_is_always_a_usable_lease(life: float) -> None:
    async with BrokerWorld(life) as world:
        await world.add(HOST)
        for _ in range(100):
            await world.waits.advance(life / 10)
            assert world.lease.is_usable(world.clock.now())
        assert 18 <= len(world.exchange.orders) <= 24
        assert len(world.exchange.orders) == len(world.publisher.leases)


async def test_ten_refreshes_are_exactly_ten_exchanges() -> None:
    async with BrokerWorld(life=6.0) as world:
        await world.add(HOST)
        while len(world.publisher.leases) < 10:
            await world.waits.advance(world.waits.next_due() or 0.0)
        assert len(world.exchange.orders) == 10
        generations = [lease.generation for lease in world.publisher.leases]
        assert generations == sorted(set(generations))


async def test_a_new_upstream_in_scope_widens_the_lease_without_an_exchange() -> None:
    async with BrokerWorld() as world:
        await world.add(HOST)
        first = world.lease
        await world.write(lambda book: book.put_upstream(upstream("ups2", OTHER_HOST)))
        assert world.lease.hosts == (HOST, OTHER_HOST)
        assert world.lease.generation > first.generation
        assert world.lease.credential == first.credential
        assert len(world.exchange.orders) == 1


async def test_a_credential_of_the_replaced_identity_goes_nowhere_new() -> None:
    async with BrokerWorld() as world:
        await world.add(HOST, usable_for={"partition": "aws", "accounts": ["123456789012"]})
        world.exchange.standing_outcome = Refused("bad_credentials")
        widened = identity(world.sealing_key, version=2)
        await world.write(
            lambda book: book.put_identity(widened),
            lambda book: book.put_upstream(upstream("ups2", OTHER_HOST)),
        )
        assert all(OTHER_HOST not in lease.hosts for lease in world.publisher.leases)
        await world.write(lambda book: book.drop_upstream("ups1"))
        assert world.lease.hosts == ()
        world.exchange.standing_outcome = None
        await world.waits.advance(120.0)
        assert world.lease.hosts == (OTHER_HOST,)


@pytest.mark.parametrize(
    ("realm", "is_shown"),
    [
        (None, True),
        ("https://harbor.example.com/service/token", True),
        (AUTH, True),
        ("https://evil.example.net/token", False),
        ("https://harbor.example.com@evil.example.net/token", False),
        ("http://harbor.example.com/service/token", False),
        ("https://harbor.example.com:8443/token", False),
        ("https://[", False),
    ],
)
async def test_a_password_is_lent_for_no_realm_that_the_seal_does_not_permit(
    realm: str | None, *, is_shown: bool
) -> None:
    async with BrokerWorld(life=None) as world:
        usable_for = {"hosts": ["harbor.example.com", "auth.example.com"]}
        record = identity(world.sealing_key, PASSWORD, usable_for=usable_for)
        harbor = upstream("ups1", "harbor.example.com", kind="oci")
        await world.write(lambda book: book.put_identity(record), lambda book: book.put_upstream(harbor))
        repointed = harbor.model_copy(update={"token_realm": realm})
        await world.write(lambda book: book.put_upstream(repointed))
        assert bool(world.publisher.withdrawn) is not is_shown
        told = await world.refresher.ask("ups1", None)
        assert (told.failure is None) is is_shown
        assert ("auth.example.com" in world.publisher.leases[-1].hosts) is (realm == AUTH)


async def test_an_upstream_that_leaves_the_scope_narrows_the_lease() -> None:
    async with BrokerWorld() as world:
        await world.add(HOST, OTHER_HOST)
        await world.write(lambda book: book.drop_upstream("ups2"))
        assert world.lease.hosts == (HOST,)
        assert len(world.exchange.orders) == 1


async def test_a_changed_identity_is_exchanged_at_once() -> None:
    async with BrokerWorld() as world:
        await world.add(HOST)
        changed = identity(world.sealing_key, version=2)
        await world.write(lambda book: book.put_identity(changed))
        assert len(world.exchange.orders) == 2
        assert world.lease.generation.identity_version == 2


async def test_a_renamed_identity_is_not_exchanged() -> None:
    async with BrokerWorld() as world:
        await world.add(HOST)
        record = identity(world.sealing_key)
        await world.write(lambda book: book.put_identity(record))
        before = len(world.exchange.orders)
        renamed = record.model_copy(update={"name": "another name"})
        await world.write(lambda book: book.put_identity(renamed))
        assert len(world.exchange.orders) == before


async def test_a_change_during_an_exchange_discards_what_comes_of_it() -> None:
    async with BrokerWorld() as world:
        world.exchange.gate.clear()
        await world.add(HOST)
        changed = identity(world.sealing_key, version=2)
        await world.write(lambda book: book.put_identity(changed))
        assert len(world.exchange.orders) == 2
        world.exchange.gate.set()
        await settle()
        assert [lease.generation.identity_version for lease in world.publisher.leases] == [2]
        assert world.ledger.kinds().count("exchange.outcome") == 2


@pytest.mark.parametrize("what", ["identity", "upstream", "disabled"])
async def test_what_is_removed_is_taken_back_and_never_refreshed_again(what: str) -> None:
    async with BrokerWorld() as world:
        await world.add(HOST)
        if what == "identity":
            await world.write(lambda book: book.drop_identity("idn1"))
        elif what == "upstream":
            await world.write(lambda book: book.drop_upstream("ups1"))
        else:
            await world.write(lambda book: book.put_upstream(upstream(enabled=False)))
        assert world.publisher.withdrawn == [world.lease.scope]
        assert "lease.withdrawn" in world.ledger.kinds()
        await world.waits.advance(2 * TWELVE_HOURS)
        assert len(world.exchange.orders) == 1


async def test_a_host_the_identity_may_not_be_used_for_is_refused_before_anybody_is_asked() -> None:
    async with BrokerWorld() as world:
        await world.add("333333333333.dkr.ecr.eu-west-1.amazonaws.com")
        assert world.exchange.orders == []
        ((kind, _, facts),) = world.ledger.events
        assert (kind, facts["reason"]) == ("exchange.refused", "host_not_permitted")
        told = await world.refresher.ask("ups1", None)
        assert isinstance(told.failure, Refused)
        assert told.failure.reason == "host_not_permitted"


async def test_a_method_the_kind_does_not_accept_is_refused_before_anybody_is_asked() -> None:
    async with BrokerWorld() as world:
        await world.add(HOST, method=PASSWORD, usable_for={"hosts": [HOST]})
        assert world.exchange.orders == []
        assert world.ledger.events[0][2]["reason"] == "method_not_accepted"


@pytest.mark.parametrize(
    "alteration",
    [
        {"credential_version": 2},
        {"usable_for": {"partition": "aws", "accounts": ["123456789012", "999999999999"]}},
        {"sealed_secrets": "AAAA"},
        {"method": "aws.assume_role", "settings": {"role_arn": "arn:aws:iam::123456789012:role/x"}},
    ],
)
async def test_a_repointed_secret_stays_closed_and_costs_one_event(alteration: dict[str, object]) -> None:
    async with BrokerWorld() as world:
        record = identity(world.sealing_key).model_copy(update=alteration)
        await world.write(lambda book: book.put_identity(record), lambda book: book.put_upstream(upstream()))
        await world.waits.advance(3600)
        assert world.exchange.orders == []
        assert [facts["reason"] for _, _, facts in world.ledger.events] == ["seal_broken"]
        told = await world.refresher.ask("ups1", None)
        assert isinstance(told.failure, Refused)


async def test_a_secret_sealed_for_another_broker_stays_closed() -> None:
    async with BrokerWorld() as world:
        record = identity(SealingKey.generate())
        await world.write(lambda book: book.put_identity(record), lambda book: book.put_upstream(upstream()))
        assert world.exchange.orders == []


async def test_a_failed_refresh_keeps_the_last_good_lease() -> None:
    async with BrokerWorld(life=600.0) as world:
        await world.add(HOST)
        world.exchange.standing_outcome = Unavailable("upstream_error")
        await world.waits.advance(590)
        assert world.publisher.withdrawn == []
        assert len(world.publisher.leases) == 1
        world.exchange.standing_outcome = None
        await world.waits.advance(15)
        assert len(world.publisher.leases) >= 2


@pytest.mark.parametrize("life", [3.0, 600.0])
async def test_an_unavailable_cloud_is_asked_at_most_ten_times_a_minute(life: float) -> None:
    async with BrokerWorld(life) as world:
        world.exchange.standing_outcome = Unavailable("throttled")
        await world.add(HOST)
        counts = []
        for _ in range(10):
            before = len(world.exchange.orders)
            await world.waits.advance(60)
            counts.append(len(world.exchange.orders) - before)
        assert max(counts) <= 10
        assert min(counts) >= 3


async def test_a_refusal_is_tested_again_slowly_and_ends_at_once_with_a_new_secret() -> None:
    async with BrokerWorld() as world:
        world.exchange.standing_outcome = Refused("bad_credentials")
        await world.add(HOST)
        await world.waits.advance(3600)
        assert 10 <= len(world.exchange.orders) <= 20
        world.exchange.standing_outcome = None
        changed = identity(world.sealing_key, version=2)
        await world.write(lambda book: book.put_identity(changed))
        assert len(world.publisher.leases) == 1


async def test_a_refusal_is_tested_again_for_somebody_who_waits_but_not_more_than_once_a_minute() -> None:
    async with BrokerWorld() as world:
        world.exchange.standing_outcome = Refused("permission_denied")
        await world.add(HOST)
        await world.waits.advance(1000)
        before = len(world.exchange.orders)
        for _ in range(120):
            told = await world.refresher.ask("ups1", None)
            assert isinstance(told.failure, Refused)
            await world.waits.advance(1)
        assert len(world.exchange.orders) - before <= 3
        world.exchange.standing_outcome = None
        await world.waits.advance(61)
        assert (await world.refresher.ask("ups1", None)).generation is not None


async def test_a_cloud_that_names_a_time_is_not_asked_sooner() -> None:
    async with BrokerWorld() as world:
        world.exchange.standing_outcome = Unavailable("throttled", retry_after=100.0)
        await world.add(HOST)
        await world.waits.advance(99)
        assert len(world.exchange.orders) == 1


async def test_a_bug_in_an_exchange_is_an_outcome_and_ends_nothing() -> None:
    async with BrokerWorld() as world:
        world.exchange.next_outcomes = [RuntimeError("canary-secret-key")]
        await world.add(HOST)
        await world.waits.advance(15)
        assert len(world.publisher.leases) == 1
        assert "canary" not in str(world.ledger.events)


async def test_without_a_durable_intent_there_is_no_exchange() -> None:
    async with BrokerWorld(life=600.0) as world:
        world.ledger.is_full = True
        await world.add(HOST)
        await world.waits.advance(120)
        assert world.exchange.orders == []
        told = await world.refresher.ask("ups1", None)
        assert isinstance(told.failure, Unavailable)
        assert told.failure.reason == "audit_unavailable"
        world.ledger.is_full = False
        await world.waits.advance(60)
        assert len(world.publisher.leases) == 1


async def test_a_full_disk_leaves_the_lease_there_is_alone() -> None:
    async with BrokerWorld(life=600.0) as world:
        await world.add(HOST)
        world.ledger.is_full = True
        await world.waits.advance(500)
        assert len(world.exchange.orders) == 1
        assert world.publisher.withdrawn == []
        assert (await world.refresher.ask("ups1", None)).generation == world.lease.generation


async def test_fifty_who_were_refused_cost_one_exchange() -> None:
    async with BrokerWorld() as world:
        await world.add(HOST, OTHER_HOST)
        refused = world.lease.generation
        world.exchange.gate.clear()
        asking = [asyncio.create_task(world.refresher.ask(f"ups{1 + n % 2}", refused)) for n in range(50)]
        await settle()
        world.exchange.gate.set()
        told = await asyncio.gather(*asking)
        assert len(world.exchange.orders) == 2
        assert {each.generation for each in told} == {world.lease.generation}
        assert world.lease.generation > refused


async def test_who_names_an_older_generation_is_told_of_the_newer_one_at_once() -> None:
    async with BrokerWorld(life=600.0) as world:
        await world.add(HOST)
        old = world.lease.generation
        await world.waits.advance(400)
        told = await world.refresher.ask("ups1", old)
        assert told.generation == world.lease.generation
        assert len(world.exchange.orders) == 2
        assert world.publisher.repeated == [world.lease.scope]


async def test_a_wider_copy_of_a_refused_credential_is_no_answer() -> None:
    async with BrokerWorld() as world:
        await world.add(HOST)
        refused = world.lease.generation
        await world.write(lambda book: book.put_upstream(upstream("ups2", OTHER_HOST)))
        assert world.lease.generation > refused
        for generation in (refused, world.lease.generation):
            credential = world.lease.credential
            told = await world.refresher.ask("ups1", generation)
            assert told.generation is not None
            assert world.lease.credential != credential or generation != refused
            await world.waits.advance(61)


async def test_leases_that_are_refused_again_and_again_are_forced_ever_more_slowly() -> None:
    async with BrokerWorld() as world:
        await world.add(HOST)
        answers: list[Told] = []
        for _ in range(60):
            answers.append(await world.refresher.ask("ups1", world.lease.generation))
            await world.waits.advance(1)
        assert len(world.exchange.orders) - 1 == 4
        limited = [each for each in answers if isinstance(each.failure, Unavailable)]
        assert {each.failure.reason for each in limited if each.failure} == {"rate_limited"}
        assert all(each.retry_after for each in limited)


async def test_a_refused_password_is_told_as_such_and_not_refreshed_in_vain() -> None:
    async with BrokerWorld(life=None) as world:
        record = identity(world.sealing_key, PASSWORD, usable_for={"hosts": ["harbor.example.com"]})
        await world.write(
            lambda book: book.put_identity(record),
            lambda book: book.put_upstream(upstream(host="harbor.example.com", kind="oci")),
        )
        world.exchange.standing_outcome = world.exchange.issued("token-1")
        generation = world.lease.generation
        for _ in range(10):
            told = await world.refresher.ask("ups1", generation)
            assert isinstance(told.failure, Refused)
            assert told.failure.reason == "credential_rejected"
            await world.waits.advance(600)
        assert len(world.exchange.orders) == 2
        assert len(world.publisher.leases) == 1
        assert (await world.refresher.ask("ups1", None)).generation == generation


async def test_a_broker_starts_above_what_a_proxy_holds() -> None:
    async with BrokerWorld() as world:
        await world.add(HOST)
        held = Generation(7, world.lease.generation.instant_ms + 5000, "other")
        told = await world.refresher.ask("ups1", held)
        assert told.generation is not None
        assert told.generation > held


async def test_a_generation_from_the_far_future_moves_nothing() -> None:
    async with BrokerWorld() as world:
        await world.add(HOST)
        await world.refresher.ask("ups1", Generation(9_999_999_999, 9_999_999_999_999_999, "evil"))
        assert world.lease.generation.identity_version == 1
        assert world.generations.next_instant() < 2 * world.clock.now().timestamp() * 1000


async def test_who_asks_of_an_unheard_upstream_is_told_to_try_again() -> None:
    async with BrokerWorld() as world:
        told = await world.refresher.ask("nobody", None)
        assert isinstance(told.failure, Unavailable)
        assert told.failure.reason == "upstream_unknown"


async def test_who_asks_a_moment_too_early_is_answered_when_the_upstream_is_heard_of() -> None:
    async with BrokerWorld() as world:
        asking = asyncio.create_task(world.refresher.ask("ups1", None))
        await settle()
        await world.add(HOST)
        assert (await asking).generation == world.lease.generation


async def test_an_anonymous_upstream_has_no_lease() -> None:
    async with BrokerWorld() as world:
        await world.write(lambda book: book.put_upstream(upstream(identity_id=None)))
        told = await world.refresher.ask("ups1", None)
        assert isinstance(told.failure, Refused)
        assert told.failure.reason == "no_identity"


async def test_a_wall_clock_that_jumps_causes_no_storm() -> None:
    async with BrokerWorld() as world:
        await world.add(HOST)
        world.clock.step_wall(13 * 3600)
        await world.waits.advance(60)
        assert len(world.exchange.orders) == 1
        await world.refresher.ask("ups1", world.lease.generation)
        assert len(world.exchange.orders) == 2
        world.clock.step_wall(-13 * 3600 - 300)
        await world.waits.advance(60)
        assert len(world.exchange.orders) == 2
        assert world.lease.generation == max(lease.generation for lease in world.publisher.leases)


async def test_an_exchange_under_way_is_finished_before_the_broker_stops() -> None:
    async with BrokerWorld() as world:
        world.exchange.gate.clear()
        await world.add(HOST)
    assert world.ledger.kinds() == ["exchange.intent", "exchange.outcome"]
