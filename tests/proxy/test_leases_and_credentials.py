"""Leases are adopted with suspicion, and asked for once for all who need them."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from tests.proxy.proxy_world import FakeBroker, ProxyWorld
from tests.proxy.test_pulls import BLOB, BY_DIGEST, BY_TAG, MANIFEST, holding
from tests.support.clock import ManualClock
from tests.support.fake_registry import basic, error_reply
from tests.support.fake_server import FakeServer, Reply, Seen
from tests.support.registry_world import CA_PEM
from tests.support.wait import eventually
from vreg_proxy.credentials import LeasedCredentials, LeaseDesk
from vreg_proxy.lease_cache import LeaseCache
from vreg_shared.lease import Generation, Lease, LeaseNeed, RegistryCredential
from vreg_shared.messages.lease import key_of, seal_lease
from vreg_shared.messages.record import RecordRejectedError, SignedRecord
from vreg_shared.messages.refresh import RefreshReply, RefreshRequest
from vreg_shared.private_ca import fingerprints
from vreg_shared.provider import Answer, Presentation
from vreg_shared.registry_client import CredentialUnavailableError
from vreg_shared.sealing import SealingKey
from vreg_shared.secret import Secret

KEY = SealingKey.generate()
HOST = "registry.example.com"
CLOCK = ManualClock()
FIRST = Lease(
    scope="identity/registry.example.com",
    identity_id="identity",
    hosts=(HOST,),
    generation=Generation(1, 1000, "b"),
    issued_at=CLOCK.now(),
    refresh_at=None,
    not_after=CLOCK.now() + timedelta(hours=1),
    credential=RegistryCredential("vreg", Secret("first"), Presentation.BASIC),
)


def later(lease: Lease, by: int = 1, **fields: object) -> Lease:
    generation = replace(lease.generation, instant_ms=lease.generation.instant_ms + by)
    return replace(lease, generation=generation, **fields)  # type: ignore[arg-type]


def record(lease: Lease, version: int = 1, key: SealingKey = KEY) -> SignedRecord:
    return SignedRecord(
        key_of(lease.scope), version, deleted=False, body=seal_lease(lease, key.public).model_dump_json()
    )


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def leases(clock: ManualClock) -> LeaseCache:
    return LeaseCache(KEY, clock)


def test_a_newer_lease_takes_the_place_of_an_older_one(leases: LeaseCache) -> None:
    leases.adopt(record(FIRST))
    leases.adopt(record(later(FIRST)))
    assert leases.get(FIRST.scope) == later(FIRST)


def test_the_same_generation_for_more_hosts_is_adopted(leases: LeaseCache) -> None:
    leases.adopt(record(FIRST))
    wider = replace(FIRST, hosts=(HOST, "second.example.com"))
    leases.adopt(record(wider, version=2))
    assert leases.get(FIRST.scope) == wider


def broken(change: Callable[[str], str]) -> SignedRecord:
    good = record(FIRST)
    return SignedRecord(good.key, good.version, deleted=False, body=change(good.body))


@pytest.mark.parametrize(
    "bad",
    [
        record(later(FIRST, -1)),
        record(replace(FIRST, scope="another")),
        record(FIRST, key=SealingKey.generate()),
        broken(lambda body: body.replace(HOST, "evil.example.com")),
        broken(lambda body: body.replace('"basic"', '"bearer"')),
        broken(lambda body: body.replace("0000000001-", "0000000009-")),
        broken(lambda _: "{}"),
        broken(lambda _: "nonsense"),
    ],
    ids=["older", "another scope", "another key", "host", "presentation", "generation", "empty", "nonsense"],
)
def test_a_lease_that_is_not_as_it_was_made_is_rejected(leases: LeaseCache, bad: SignedRecord) -> None:
    leases.adopt(record(FIRST))
    if bad.key != key_of(FIRST.scope):
        bad = SignedRecord(key_of(FIRST.scope), bad.version, deleted=False, body=bad.body)
    with pytest.raises(RecordRejectedError):
        leases.adopt(bad)
    assert leases.get(FIRST.scope) == FIRST


def test_a_lease_that_has_ended_is_left_alone(leases: LeaseCache) -> None:
    leases.adopt(record(replace(FIRST, not_after=CLOCK.now())))
    assert leases.get(FIRST.scope) is None


def test_a_tombstone_takes_a_lease_away(leases: LeaseCache) -> None:
    leases.adopt(record(FIRST))
    leases.adopt(SignedRecord(key_of(FIRST.scope), 2, deleted=True, body=""))
    assert leases.get(FIRST.scope) is None


def credentials(
    leases: LeaseCache, broker: FakeBroker, clock: ManualClock, host: str = HOST
) -> LeasedCredentials:
    return LeasedCredentials(LeaseDesk(leases, broker, clock), "upstream", FIRST.scope, LeaseNeed(host))


def publishing(leases: LeaseCache, lease: Lease) -> Callable[[RefreshRequest], RefreshReply]:
    def answer(_request: RefreshRequest) -> RefreshReply:
        leases.adopt(record(lease, version=9))
        return RefreshReply(outcome="issued")

    return answer


async def test_a_lease_that_is_here_is_used_without_asking(leases: LeaseCache, clock: ManualClock) -> None:
    leases.adopt(record(FIRST))
    broker = FakeBroker()
    assert await credentials(leases, broker, clock).current() == FIRST
    assert not broker.asked


async def test_before_the_first_lease_the_broker_is_asked_once_for_all(
    leases: LeaseCache, clock: ManualClock
) -> None:
    broker = FakeBroker(publishing(leases, FIRST))
    ours = credentials(leases, broker, clock)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(ours.current()) for _ in range(50)]
    assert {task.result() for task in tasks} == {FIRST}
    assert [request.refused_generation for request in broker.asked] == [None]


async def test_a_refused_lease_is_replaced_once_for_all(leases: LeaseCache, clock: ManualClock) -> None:
    leases.adopt(record(FIRST))
    broker = FakeBroker(publishing(leases, later(FIRST)))
    ours = credentials(leases, broker, clock)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(ours.replace(FIRST.generation)) for _ in range(50)]
    assert {task.result() for task in tasks} == {later(FIRST)}
    assert [request.refused_generation for request in broker.asked] == [str(FIRST.generation)]


async def test_a_lease_newer_than_the_refused_one_needs_no_broker(
    leases: LeaseCache, clock: ManualClock
) -> None:
    leases.adopt(record(later(FIRST)))
    broker = FakeBroker()
    assert await credentials(leases, broker, clock).replace(FIRST.generation) == later(FIRST)
    assert not broker.asked


async def test_an_ended_lease_is_named_to_the_broker(leases: LeaseCache, clock: ManualClock) -> None:
    leases.adopt(record(FIRST))
    clock.advance(3601)
    fresh = later(FIRST, not_after=clock.now() + timedelta(hours=1))
    broker = FakeBroker(publishing(leases, fresh))
    assert await credentials(leases, broker, clock).current() == fresh
    assert broker.asked[0].refused_generation == str(FIRST.generation)


async def test_a_lease_is_never_given_for_a_host_it_does_not_name(
    leases: LeaseCache, clock: ManualClock
) -> None:
    leases.adopt(record(FIRST))
    with pytest.raises(CredentialUnavailableError):
        await credentials(leases, FakeBroker(), clock, host="evil.example.com").current()


@pytest.mark.parametrize(
    ("reply", "answer", "reason"),
    [
        (
            RefreshReply(outcome="refused", reason="access_denied", detail="arn"),
            Answer.REFUSED,
            "access_denied",
        ),
        (
            RefreshReply(outcome="unavailable", reason="throttled"),
            Answer.UNAVAILABLE,
            "upstream_auth_unavailable",
        ),
        (None, Answer.UNAVAILABLE, "upstream_auth_unavailable"),
    ],
)
async def test_without_a_lease_the_truth_is_told_and_remembered_for_a_moment(
    leases: LeaseCache, clock: ManualClock, reply: RefreshReply | None, answer: Answer, reason: str
) -> None:
    broker = FakeBroker((lambda _: reply) if reply is not None else None)
    ours = credentials(leases, broker, clock)
    for _ in range(5):
        with pytest.raises(CredentialUnavailableError) as caught:
            await ours.current()
        assert (caught.value.verdict.answer, caught.value.verdict.reason) == (answer, reason)
    assert len(broker.asked) == 1
    clock.advance(16)
    with pytest.raises(CredentialUnavailableError):
        await ours.current()
    assert len(broker.asked) == 2


async def test_a_lease_that_arrives_by_itself_ends_the_waiting(
    leases: LeaseCache, clock: ManualClock
) -> None:
    broker = FakeBroker(lambda _: RefreshReply(outcome="issued"))
    ours = credentials(leases, broker, clock)
    waiting = asyncio.create_task(ours.current())
    await eventually(lambda: broker.asked)
    leases.adopt(record(FIRST))
    assert await waiting == FIRST


async def test_an_issued_lease_that_does_not_arrive_is_unavailable(
    leases: LeaseCache, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vreg_proxy.credentials.ARRIVAL_SECONDS", 0.01)
    broker = FakeBroker(lambda _: RefreshReply(outcome="issued"))
    with pytest.raises(CredentialUnavailableError) as caught:
        await credentials(leases, broker, clock).current()
    assert caught.value.verdict.reason == "upstream_auth_unavailable"


async def test_a_lease_refused_as_soon_as_it_came_starts_no_storm(
    leases: LeaseCache, clock: ManualClock
) -> None:
    leases.adopt(record(FIRST))
    broker = FakeBroker(publishing(leases, later(FIRST)))
    ours = credentials(leases, broker, clock)
    fresh = await ours.replace(FIRST.generation)
    with pytest.raises(CredentialUnavailableError) as caught:
        await ours.replace(fresh.generation)
    assert caught.value.verdict.answer is Answer.REFUSED
    assert len(broker.asked) == 1


def accepting(password: str) -> Callable[[Seen], Reply | None]:
    """Refuse every credential but this one."""
    expected = basic("vreg", password)

    def override(seen: Seen) -> Reply | None:
        return None if seen.headers.get("authorization") == expected else error_reply(401, "UNAUTHORIZED")

    return override


async def private_upstream(world: ProxyWorld, password: str, **fields: object) -> Lease:
    lease, _ = await private_server(world, password, **fields)
    return lease


async def private_server(world: ProxyWorld, password: str, **fields: object) -> tuple[Lease, FakeServer]:
    registry = holding()
    registry.override = accepting(password)
    server = await world.upstream("a", registry, identity_id="identity", **fields)
    world.registry("main", "a")
    known = tuple(fingerprints(CA_PEM))
    scope = f"identity/{server.authority}"
    return replace(FIRST, scope=scope, hosts=(server.authority,), private_ca_sha256=known), server


async def test_a_host_known_by_a_private_ca_that_the_lease_does_not_name_is_sent_nothing(
    world: ProxyWorld,
) -> None:
    lease, server = await private_server(world, "first")
    world.put_lease(replace(lease, private_ca_sha256=("0" * 64,)))
    world.broker.answer = lambda _: RefreshReply(outcome="refused", reason="private_ca_not_permitted")
    answer = await world.get(BY_TAG, world.access())
    assert (answer.status, answer.reason()) == (403, "private_ca_not_permitted")
    assert server.seen == []
    world.put_lease(later(lease))
    world.clock.advance(60)
    assert (await world.get(BY_TAG, world.access())).status == 200


async def test_a_pull_with_a_refused_lease_goes_on_with_a_new_one(world: ProxyWorld) -> None:
    lease = await private_upstream(world, "second")
    world.put_lease(lease)
    second = later(lease, credential=RegistryCredential("vreg", Secret("second"), Presentation.BASIC))

    def answer(_request: RefreshRequest) -> RefreshReply:
        world.put_lease(second)
        return RefreshReply(outcome="issued")

    world.broker.answer = answer
    assert (await world.get(BY_TAG, world.access())).body == MANIFEST
    assert len(world.broker.asked) == 1


async def test_without_any_credential_a_pull_says_so_and_is_never_anonymous(world: ProxyWorld) -> None:
    await private_upstream(world, "first")
    answer = await world.get(BY_TAG, world.access())
    assert (answer.status, answer.error_code(), answer.reason()) == (
        503,
        "UNAVAILABLE",
        "upstream_auth_unavailable",
    )
    assert int(answer.headers["retry-after"]) > 0


async def test_what_is_cached_is_served_when_no_credential_is_to_be_had(world: ProxyWorld) -> None:
    lease = await private_upstream(world, "first")
    world.put_lease(replace(lease, not_after=world.clock.now() + timedelta(seconds=1000)))
    token = world.access()
    assert (await world.get(BY_TAG, token)).status == (await world.get(BLOB, token)).status == 200
    world.clock.advance(2000)
    tag, digest = await world.get(BY_TAG, token), await world.get(BY_DIGEST, token)
    assert (tag.status, tag.body, digest.body) == (200, MANIFEST, MANIFEST)
    assert "Stale" in tag.headers["warning"]
    assert (await world.get(BLOB, token)).status == 200
    assert (await world.get(BY_TAG.replace("/1", "/uncached"), token)).status == 503


async def test_without_a_credential_digests_are_served_and_tags_only_where_the_policy_says_so(
    world: ProxyWorld,
) -> None:
    lease = await private_upstream(world, "first", stale_for=())
    world.put_lease(replace(lease, not_after=world.clock.now() + timedelta(seconds=1000)))
    token = world.access()
    await world.get(BY_TAG, token)
    await world.get(BLOB, token)
    world.clock.advance(2000)
    tag = await world.get(BY_TAG, token)
    assert (tag.status, tag.reason()) == (503, "upstream_auth_unavailable")
    assert (await world.get(BY_DIGEST, token)).body == MANIFEST
    assert (await world.get(BLOB, token)).status == 200


async def test_a_credential_that_stays_refused_is_a_403_in_our_words(world: ProxyWorld) -> None:
    world.put_lease(await private_upstream(world, "something else"))
    world.broker.answer = lambda _: RefreshReply(
        outcome="refused", reason="access_denied", detail="arn:aws:iam::1"
    )
    answer = await world.get(BY_TAG, world.access())
    assert (answer.status, answer.error_code(), answer.reason()) == (403, "DENIED", "access_denied")
    assert b"arn" not in answer.body


def test_a_lease_serves_only_an_upstream_whose_repositories_it_reaches() -> None:
    bound = replace(FIRST, repositories=("project-a",))
    assert bound.meets(LeaseNeed(HOST, "project-a"))
    assert not bound.meets(LeaseNeed(HOST, "project-b"))
    assert not bound.meets(LeaseNeed(HOST))
    assert not bound.meets(LeaseNeed("elsewhere.example", "project-a"))
    assert FIRST.meets(LeaseNeed(HOST, "project-b"))
    known = replace(FIRST, private_ca_sha256=("a", "b"))
    assert known.meets(LeaseNeed(HOST, "", frozenset({"a"})))
    assert not known.meets(LeaseNeed(HOST, "", frozenset({"a", "c"})))
    assert bound.reaches("project-a/repository")
    assert not bound.reaches("project-about/repository")
