"""Configuration and leases survive on disk as they were signed, and only as they were signed."""

import asyncio
from pathlib import Path

import pytest

from tests.support.wait import eventually
from vreg_proxy.config_cache import ConfigCache
from vreg_proxy.following import Following
from vreg_proxy.record_files import RecordFiles
from vreg_shared.bus import Entry
from vreg_shared.messages.access import BUCKET, AccessRecord
from vreg_shared.messages.record import RecordRejectedError, SignedRecord, encode
from vreg_shared.messages.registry import RegistryRecord
from vreg_shared.signing import SigningKey

API = SigningKey.generate()


class FakeBus:
    """Hands on what the test puts in."""

    def __init__(self) -> None:
        self.entries: asyncio.Queue[Entry] = asyncio.Queue()

    async def follow(self, _bucket, _key_filter, on_entry, on_synced=None) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001 - as the bus has it
        if on_synced is not None:
            await on_synced()
        while True:
            await on_entry(await self.entries.get())
            self.entries.task_done()


def registry(slug: str, version: int = 1, identifier: str = "r1", key: SigningKey = API) -> Entry:
    body = RegistryRecord(id=identifier, slug=slug).model_dump_json()
    record = SignedRecord(f"registry.{identifier}", version, deleted=False, body=body)
    return Entry(record.key, encode(record, key, BUCKET))


def tombstone(version: int) -> Entry:
    record = SignedRecord("registry.r1", version, deleted=True, body="")
    return Entry(record.key, encode(record, API, BUCKET))


def following(folder: Path, bus: FakeBus, config: ConfigCache) -> Following:
    return Following(
        bus=bus,
        bucket=BUCKET,
        writer=API.verifying,
        cache=config,
        files=RecordFiles(folder),
        on_change=lambda _: None,
    )


async def follow(folder: Path, *entries: Entry, until: str | None = None) -> set[str]:
    """Restore, follow these entries, and return the slugs that are known then."""
    bus, config = FakeBus(), ConfigCache()
    follower = following(folder, bus, config)
    await follower.restore()
    for entry in entries:
        bus.entries.put_nowait(entry)
    running = asyncio.create_task(follower.run())
    await eventually(lambda: until is None or until in config.snapshot().registries)
    await bus.entries.join()  # its file is written after a record is known
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    return set(config.snapshot().registries)


async def test_what_was_followed_is_there_after_a_restart_without_a_bus(tmp_path: Path) -> None:
    assert await follow(tmp_path, registry("main"), until="main") == {"main"}
    assert await follow(tmp_path) == {"main"}


async def test_an_older_or_foreign_record_changes_nothing(tmp_path: Path) -> None:
    await follow(tmp_path, registry("new", version=5), until="new")
    other = SigningKey.generate()
    assert await follow(tmp_path, registry("old", 4), registry("forged", 9, key=other)) == {"new"}
    assert await follow(tmp_path) == {"new"}


async def test_a_tombstone_is_remembered_over_a_restart(tmp_path: Path) -> None:
    await follow(tmp_path, registry("main", 1), until="main")
    bus, config = FakeBus(), ConfigCache()
    follower = following(tmp_path, bus, config)
    await follower.restore()
    bus.entries.put_nowait(tombstone(2))
    running = asyncio.create_task(follower.run())
    await eventually(lambda: not config.snapshot().registries)
    await eventually(lambda: b'"version":2' in (tmp_path / "registry.r1.json").read_bytes())
    running.cancel()
    assert await follow(tmp_path, registry("main", 1)) == set()


@pytest.mark.parametrize("damage", [b"", b"{}", b"\xff\xfe", None])
async def test_a_damaged_file_is_one_record_less(tmp_path: Path, damage: bytes | None) -> None:
    await follow(tmp_path, registry("a"), registry("b", identifier="r2"), until="b")
    path = tmp_path / "registry.r1.json"
    path.write_bytes(
        damage if damage is not None else path.read_bytes().replace(b'\\"slug\\":\\"a', b'\\"slug\\":\\"x')
    )
    assert await follow(tmp_path) == {"b"}
    assert await follow(tmp_path, registry("a", version=2), until="a") == {"a", "b"}


def test_a_file_is_never_replaced_by_an_older_one(tmp_path: Path) -> None:
    files = RecordFiles(tmp_path)
    for version in (1, 3, 2):
        files.keep("registry.r1", version, registry(f"v{version}", version).value)
    assert b"v3" in dict(files.all())["registry.r1"]


@pytest.mark.parametrize(
    "key", ["../x", "a/b", "a.b/../c", "..", "", "registry.", "registry.x.y", "a.\0", "A.b"]
)
def test_only_a_key_of_ours_becomes_a_file_name(tmp_path: Path, key: str) -> None:
    RecordFiles(tmp_path / "inner").keep(key, 1, b"x")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_record_of_a_newer_api_is_rejected_and_the_last_good_one_stays() -> None:
    config = ConfigCache()
    config.adopt(
        SignedRecord(
            "registry.r1", 1, deleted=False, body=RegistryRecord(id="r1", slug="a").model_dump_json()
        )
    )
    for bad in ("{}", "[]", "nonsense", RegistryRecord(id="r2", slug="b").model_dump_json()):
        with pytest.raises(RecordRejectedError):
            config.adopt(SignedRecord("registry.r1", 2, deleted=False, body=bad))
    with pytest.raises(RecordRejectedError):
        config.adopt(SignedRecord("mystery.r1", 2, deleted=False, body="{}"))
    assert set(config.snapshot().registries) == {"a"}


def test_a_snapshot_never_changes() -> None:
    config = ConfigCache()
    before = config.snapshot()
    access = AccessRecord(id="x", name="x", secret_sha256="0", role="puller")
    config.adopt(SignedRecord("access.x", 1, deleted=False, body=access.model_dump_json()))
    assert not before.access
    assert set(config.snapshot().access) == {"x"}
    assert config.snapshot().routing == before.routing


def test_of_two_registries_with_one_slug_the_older_keeps_it() -> None:
    config = ConfigCache()
    for identifier in ("r2", "r1"):
        body = RegistryRecord(id=identifier, slug="main").model_dump_json()
        config.adopt(SignedRecord(f"registry.{identifier}", 1, deleted=False, body=body))
    assert config.snapshot().registries["main"].id == "r1"
