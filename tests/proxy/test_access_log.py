"""The log of pulls: what was pulled is told in batches, and nothing is ever waited for."""

import asyncio

import pytest

from tests.proxy.proxy_world import ACCESS_ID, ProxyWorld
from tests.support.clock import ManualClock
from tests.support.fake_registry import FakeRegistry, image_manifest
from vreg_proxy import access_log
from vreg_proxy.access_log import AccessLog, Pulled
from vreg_proxy.cache import Hit
from vreg_shared.bus import BusUnavailableError
from vreg_shared.messages.pulls import MAX_PULLS, SUBJECT, PullBatch
from vreg_shared.oci.digest import Digest

LAYER = b"layer " * 50_000
MANIFEST = image_manifest(LAYER)
PULL = Pulled(
    ACCESS_ID, "reg1", "library/alpine", "latest", "sha256:" + "a" * 64, "manifest", "ups1", Hit.DISK
)


class FakeBus:
    def __init__(self) -> None:
        self.batches: dict[str, PullBatch] = {}
        self.is_down = False

    async def publish(self, subject: str, payload: bytes, *, message_id: str) -> None:
        assert subject == SUBJECT
        if self.is_down:
            raise BusUnavailableError("down, says the test")
        self.batches[message_id] = PullBatch.model_validate_json(payload)

    def pulls(self) -> list[tuple[str, str, int, int]]:
        return [
            (each.hit, each.upstream_id or "", each.count, each.bytes)
            for batch in self.batches.values()
            for each in batch.pulls
        ]


async def test_equal_pulls_of_a_second_are_one_record_with_their_number() -> None:
    bus, log = FakeBus(), AccessLog("p1", ManualClock())
    for _ in range(1000):
        log.pulled(PULL, 500)
    log.pulled(PULL._replace(access_id=None), 500)
    await log.publish(bus)
    assert bus.pulls() == [("disk", "ups1", 1000, 500_000), ("disk", "ups1", 1, 500)]
    await log.publish(bus)
    assert len(bus.batches) == 1


async def test_the_last_second_of_pulls_is_told_when_the_process_ends() -> None:
    bus, log = FakeBus(), AccessLog("p1", ManualClock())
    log.pulled(PULL, 500)
    await log.publish_last(bus)
    assert bus.pulls() == [("disk", "ups1", 1, 500)]


async def test_a_bus_that_does_not_answer_keeps_no_process_from_ending(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(access_log, "LAST_SECONDS", 0)
    log = AccessLog("p1", ManualClock())

    class SilentBus:
        async def publish(self, _subject: str, _payload: bytes, **_named: str) -> None:
            await asyncio.Event().wait()

    log.pulled(PULL, 500)
    await log.publish_last(SilentBus())


async def test_while_the_bus_is_down_the_oldest_go_and_how_many_went_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(access_log, "MOST_WAITING", 3)
    bus, log = FakeBus(), AccessLog("p1", ManualClock())
    bus.is_down = True
    for second in range(10):
        log.pulled(PULL._replace(reference=f"v{second}"), 1)
        await log.publish(bus)
    bus.is_down = False
    await log.publish(bus)
    log.pulled(PULL, 1)
    await log.publish(bus)
    told = [each.reference for batch in bus.batches.values() for each in batch.pulls]
    assert told == ["v7", "v8", "v9", "latest"]
    assert sum(batch.dropped for batch in bus.batches.values()) == log.dropped == 7


async def test_more_different_pulls_than_can_be_told_apart_are_counted_as_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(access_log, "MOST_COUNTED", MAX_PULLS + 100)
    bus, log = FakeBus(), AccessLog("p1", ManualClock())
    for number in range(MAX_PULLS + 150):
        log.pulled(PULL._replace(reference=f"v{number}"), 1)
    await log.publish(bus)
    assert [len(batch.pulls) for batch in bus.batches.values()] == [MAX_PULLS, 100]
    assert sum(batch.dropped for batch in bus.batches.values()) == 50


async def test_every_whole_answer_is_noted_with_who_what_and_from_where(world: ProxyWorld) -> None:
    upstream = FakeRegistry()
    upstream.add_manifest("team/app", "1", MANIFEST)
    upstream.add_blob("team/app", LAYER)
    await world.upstream("a", upstream)
    world.registry("main", "a")
    token = world.access()
    blob = f"/v2/main/team/app/blobs/{Digest.of(LAYER)}"
    for _ in range(3):
        assert (await world.get("/v2/main/team/app/manifests/1", token)).body == MANIFEST
        assert (await world.get(blob, token)).body == LAYER
        await world.cache.settled()  # a pull may end before its bytes have their name
    await world.get(blob, token, method="HEAD")
    await world.get(blob, token, headers={"range": "bytes=0-9"})
    await world.get("/v2/main/team/app/manifests/absent", token)
    bus = FakeBus()
    await world.pulls.log.publish(bus)
    [batch] = bus.batches.values()
    assert sorted((each.what, each.hit, each.count, each.bytes) for each in batch.pulls) == [
        ("blob", "disk", 3, 2 * len(LAYER) + 10),
        ("blob", "filled", 1, len(LAYER)),
        ("manifest", "filled", 1, len(MANIFEST)),
        ("manifest", "memory", 2, 2 * len(MANIFEST)),
    ]
    assert {(each.repository, each.access_id, each.upstream_id) for each in batch.pulls} == {
        ("team/app", ACCESS_ID, "a")
    }
    assert {each.digest for each in batch.pulls} == {str(Digest.of(MANIFEST)), str(Digest.of(LAYER))}
