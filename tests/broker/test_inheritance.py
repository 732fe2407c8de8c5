"""A broker that comes to lead goes on where another left off, and exchanges only what it must."""

import pytest

from tests.broker.world import HOST, OTHER_HOST, PASSWORD, BrokerWorld, identity, upstream
from vreg_shared.auth_method import Objection
from vreg_shared.lease import Generation

HALF_A_LIFE = 6 * 3600.0


async def test_an_inherited_lease_is_refreshed_when_it_would_have_been() -> None:
    async with BrokerWorld() as world:
        await world.add(HOST)
        await world.waits.advance(HALF_A_LIFE / 2)
        await world.take_over()
        assert len(world.exchange.orders) == 1
        await world.waits.advance(HALF_A_LIFE / 2 * 0.7)
        assert len(world.exchange.orders) == 1
        await world.waits.advance(HALF_A_LIFE / 2 * 0.6)
        assert len(world.exchange.orders) == 2
        first, second = world.publisher.leases
        assert first.generation < second.generation


async def test_an_inherited_lease_whose_refresh_is_overdue_is_refreshed_at_once() -> None:
    async with BrokerWorld() as world:
        await world.add(HOST)
        world.clock.advance(HALF_A_LIFE * 1.5)
        await world.take_over()
        assert len(world.exchange.orders) == 2


async def test_an_asker_is_told_of_the_inherited_lease_and_it_is_repeated() -> None:
    async with BrokerWorld() as world:
        await world.add(HOST)
        await world.take_over()
        told = await world.refresher.ask("ups1", None)
        assert told.generation == world.lease.generation
        assert world.publisher.repeated == [world.lease.scope]
        older = Generation(1, world.lease.generation.instant_ms - 1, "test")
        assert (await world.refresher.ask("ups1", older)).generation == world.lease.generation
        assert len(world.exchange.orders) == 1


async def test_an_inherited_lease_that_was_refused_is_replaced() -> None:
    async with BrokerWorld() as world:
        await world.add(HOST)
        refused = world.lease.generation
        await world.take_over()
        told = await world.refresher.ask("ups1", refused)
        assert told.generation is not None
        assert told.generation > refused
        assert len(world.exchange.orders) == 2


async def test_a_lease_that_the_operator_would_not_permit_any_more_is_not_gone_on_with() -> None:
    async with BrokerWorld() as world:
        await world.add(HOST)
        world.grants.objection = Objection("method", "ambient_not_permitted", "it was taken back")
        await world.take_over()
        assert len(world.exchange.orders) == 1
        reason = world.ledger.events[-1][2]["reason"]
        assert reason == "ambient_not_permitted"


async def test_a_password_is_inherited_for_good() -> None:
    async with BrokerWorld(life=None) as world:
        record = identity(world.sealing_key, PASSWORD, usable_for={"hosts": ["harbor.example.com"]})
        await world.write(
            lambda book: book.put_identity(record),
            lambda book: book.put_upstream(upstream(host="harbor.example.com", kind="oci")),
        )
        await world.take_over()
        await world.waits.advance(30 * 24 * 3600.0)
        assert len(world.exchange.orders) == 1


async def test_a_lease_that_ended_is_not_inherited() -> None:
    async with BrokerWorld() as world:
        await world.add(HOST)
        world.clock.advance(2 * HALF_A_LIFE + 1)
        await world.take_over()
        assert len(world.exchange.orders) == 2


@pytest.mark.parametrize("version", [1, 2])
async def test_a_lease_of_another_proof_is_not_inherited(version: int) -> None:
    async with BrokerWorld() as world:
        await world.add(HOST)
        sealed_anew = identity(world.sealing_key, version=version)
        await world.take_over(lambda book: book.put_identity(sealed_anew))
        assert len(world.exchange.orders) == 2


async def test_a_lease_for_other_hosts_is_not_inherited() -> None:
    async with BrokerWorld() as world:
        await world.add(HOST)
        await world.take_over(lambda book: book.put_upstream(upstream("ups2", OTHER_HOST)))
        assert len(world.exchange.orders) == 2
        assert world.lease.hosts == (HOST, OTHER_HOST)


async def test_an_inherited_lease_is_replaced_when_it_is_wanted_for_other_hosts() -> None:
    async with BrokerWorld() as world:
        await world.add(HOST)
        await world.take_over()
        await world.write(lambda book: book.put_upstream(upstream("ups2", OTHER_HOST)))
        assert len(world.exchange.orders) == 2
        assert world.lease.hosts == (HOST, OTHER_HOST)


async def test_a_lease_that_other_proxies_keys_open_is_not_inherited() -> None:
    async with BrokerWorld() as world:
        await world.add(HOST)
        world.replace_proxies_key()
        await world.take_over()
        assert len(world.exchange.orders) == 2


async def test_an_exchange_under_way_is_still_published_when_the_broker_ends() -> None:
    async with BrokerWorld() as world:
        world.exchange.gate.clear()
        await world.add(HOST)
        await world.tell_to_end()
        assert world.publisher.leases == []
        world.exchange.gate.set()
        await world.take_over()
        assert len(world.exchange.orders) == 1
        assert len(world.publisher.leases) == 1
