"""What a reader believes: signed by the writer, newer than before, gone only by tombstone."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.following import in_background
from tests.support.nats_server import running_nats_server
from tests.support.wait import eventually
from vreg_shared.bus import Entry
from vreg_shared.key_files import Service
from vreg_shared.messages.record import RecordRejectedError, SignedRecord, encode
from vreg_shared.record_follower import RecordFollower, signed_by
from vreg_shared.signing import SigningKey

API, FORGER = SigningKey.generate(), SigningKey.generate()
BUCKET, KEY = "vreg_config", "upstream.1"


def raw(
    version: int, body: str = "{}", *, by: SigningKey = API, deleted: bool = False, **place: str
) -> bytes:
    record = SignedRecord(place.get("key", KEY), version, deleted, body)
    return encode(record, by, place.get("bucket", BUCKET))


class FakeBus:
    """Hands over what it is given, then a word that this was all."""

    def __init__(self, *entries: tuple[str, bytes]) -> None:
        self.entries = entries

    async def follow(
        self,
        bucket: str,
        key_filter: str,
        on_entry: Callable[[Entry], Awaitable[None]],
        on_synced: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        assert (bucket, key_filter) == (BUCKET, "upstream.*")
        for key, value in self.entries:
            await on_entry(Entry(key, value))
        if on_synced is not None:
            await on_synced()


class Reader:
    def __init__(self, *entries: tuple[str, bytes]) -> None:
        self.accepted: list[tuple[str, int, bool]] = []
        self.kept: dict[str, bytes] = {}
        self.bodies_refused: set[str] = set()
        self.failure: OSError | None = None
        self.bus = FakeBus(*entries)
        self.follower = RecordFollower(
            self.bus, BUCKET, "upstream.*", verify=signed_by(API.verifying, BUCKET), on_record=self.on_record
        )

    async def on_record(self, record: SignedRecord, given: bytes) -> None:
        if self.failure is not None:
            raise self.failure
        if record.body in self.bodies_refused:
            raise RecordRejectedError("the body is not one")
        self.accepted.append((record.key, record.version, record.deleted))
        self.kept[record.key] = given


async def follow(*entries: bytes) -> Reader:
    reader = Reader(*((KEY, entry) for entry in entries))
    await reader.follower.run()
    return reader


async def test_a_newer_record_is_handed_on_with_its_bytes() -> None:
    reader = await follow(raw(1), raw(3))
    assert reader.accepted == [(KEY, 1, False), (KEY, 3, False)]
    assert reader.kept == {KEY: raw(3)}
    assert reader.follower.is_synced
    assert reader.follower.rejected == 0


async def test_an_older_or_equal_version_changes_nothing() -> None:
    reader = await follow(raw(5), raw(4), raw(5, '{"other": 1}'), raw(1))
    assert reader.accepted == [(KEY, 5, False)]


async def test_a_tombstone_deletes_and_nothing_older_brings_the_key_back() -> None:
    reader = await follow(raw(1), raw(2, "", deleted=True), raw(1))
    assert reader.accepted == [(KEY, 1, False), (KEY, 2, True)]


async def test_an_empty_bucket_deletes_nothing() -> None:
    reader = await follow(raw(1))
    reader.bus.entries = ()
    await reader.follower.run()
    assert reader.kept == {KEY: raw(1)}
    assert reader.accepted == [(KEY, 1, False)]


@pytest.mark.parametrize(
    "forged",
    [
        raw(9, by=FORGER),
        raw(9, bucket="vreg_identities"),
        raw(9, key="upstream.2"),
        raw(9).replace(b'"version":9', b'"version":10'),
        raw(9).replace(b'"deleted":false', b'"deleted":true'),
        raw(9)[:-1],
        b"",
        b"{}",
        b"\xff" * 100,
        b"[" * 100_000,
    ],
    ids=["key", "bucket", "place", "version", "tombstone", "cut", "empty", "fields", "noise", "deep"],
)
async def test_a_forged_record_is_counted_and_the_last_good_one_stays(
    forged: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    reader = await follow(raw(1), forged, forged, raw(2))
    assert reader.accepted == [(KEY, 1, False), (KEY, 2, False)]
    assert reader.follower.rejected == 1
    assert capsys.readouterr().out.count("record rejected") == 1


async def test_a_body_that_its_reader_cannot_use_is_rejected_and_its_version_not_taken() -> None:
    reader = Reader((KEY, raw(1)), (KEY, raw(3, "bad")), (KEY, raw(2)))
    reader.bodies_refused.add("bad")
    await reader.follower.run()
    assert reader.accepted == [(KEY, 1, False), (KEY, 2, False)]
    assert reader.follower.rejected == 1


async def test_a_readers_own_failure_is_raised_and_the_record_tried_again_next_time() -> None:
    reader = Reader((KEY, raw(1)))
    reader.failure = OSError("disk full")
    with pytest.raises(OSError, match="disk full"):
        await reader.follower.run()
    reader.failure = None
    await reader.follower.run()
    assert reader.accepted == [(KEY, 1, False)]


async def test_what_was_kept_on_disk_is_believed_no_more_than_the_bus() -> None:
    reader = Reader((KEY, raw(1)), (KEY, raw(3)))
    assert await reader.follower.restore(KEY, raw(2))
    assert not await reader.follower.restore("upstream.2", raw(2, by=FORGER, key="upstream.2"))
    assert not reader.follower.is_synced
    await reader.follower.run()
    assert reader.accepted == [(KEY, 2, False), (KEY, 3, False)]
    assert reader.follower.version(KEY) == 3


@given(st.lists(st.tuples(st.integers(1, 6), st.booleans(), st.booleans())))
async def test_versions_only_rise_whatever_the_bus_does(
    sent: list[tuple[int, bool, bool]],
) -> None:
    reader = await follow(*(raw(v, by=API if good else FORGER, deleted=gone) for v, gone, good in sent))
    versions = [version for _, version, _ in reader.accepted]
    assert versions == sorted(set(versions))
    assert reader.follower.version(KEY) == max((v for v, _, good in sent if good), default=0)


async def test_on_a_real_bus_not_even_its_operator_can_forge_roll_back_or_delete(tmp_path: Path) -> None:
    async with (
        running_nats_server(tmp_path) as server,
        server.bus(Service.API) as api,
        server.bus(Service.PROXY) as proxy,
    ):
        reader = Reader()
        follower = RecordFollower(
            proxy, BUCKET, "upstream.*", verify=signed_by(API.verifying, BUCKET), on_record=reader.on_record
        )
        async with in_background(follower.run()):
            await api.put(BUCKET, KEY, raw(7))
            await eventually(lambda: follower.version(KEY) == 7)
            async with server.as_operator() as operator:
                for version in range(1, 101):
                    await operator.publish(f"$KV.{BUCKET}.{KEY}", raw(version % 7 + 1))
                    await operator.publish(f"$KV.{BUCKET}.{KEY}", raw(version + 7, by=FORGER))
                await eventually(lambda: follower.rejected)
                marker = {"KV-Operation": "PURGE"}
                await operator.publish(f"$KV.{BUCKET}.{KEY}", b"", headers=marker)
                await operator.flush()
            await server.delete_stream(f"KV_{BUCKET}")
            await server.create_streams()
            await api.put(BUCKET, KEY, raw(8))
            await eventually(lambda: follower.version(KEY) == 8)
        assert reader.accepted == [(KEY, 7, False), (KEY, 8, False)]


async def test_an_answer_aimed_at_a_key_is_refused_by_readers_and_gone_when_its_writer_writes(
    tmp_path: Path,
) -> None:
    """NATS does not check where a service points the server's answers; see `vreg_shared.topology`."""
    leases, lease = "vreg_leases", "lease.1"
    reader = Reader()
    async with (
        running_nats_server(tmp_path) as server,
        server.bus(Service.API) as api,
        server.bus(Service.TOKEN_BROKER) as broker,
        server.bus(Service.PROXY) as proxy,
    ):
        follower = RecordFollower(
            proxy, leases, "lease.*", verify=signed_by(API.verifying, leases), on_record=reader.on_record
        )
        async with in_background(follower.run()):
            await broker.put(leases, lease, raw(1, bucket=leases, key=lease))
            await api.put(BUCKET, KEY, raw(9))
            await eventually(lambda: follower.version(lease) == 1)
            async with server.signed_in(Service.PROXY) as compromised:
                ask = f"$JS.API.CONSUMER.CREATE.KV_{BUCKET}.name.$KV.{BUCKET}.{KEY}"
                await compromised.publish(ask, b"", reply=f"$KV.{leases}.{lease}")
                await eventually(lambda: follower.rejected)
            await broker.put(leases, lease, raw(2, bucket=leases, key=lease))
            await eventually(lambda: follower.version(lease) == 2)
    assert [version for _, version, _ in reader.accepted] == [1, 2]
