"""Rights, tags and servers: seen by every process, bounded in memory, not missed when broken."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.clock import ManualClock
from vreg_proxy.cache import Kind, Origin, Right, TagEntry
from vreg_proxy.cache.index import Index
from vreg_proxy.cache.recent import Recent
from vreg_shared.oci.digest import Digest

HOME = Origin("upstream-1", 0, "team/app")
DIGEST = Digest.of(b"one")
RIGHT = Right("application/octet-stream", 3, Kind.BLOB)
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "index.db"


async def test_a_right_is_seen_by_another_process_as_soon_as_it_is_written(path: Path) -> None:
    ours, theirs = Index(path, ManualClock()), Index(path, ManualClock())
    assert await theirs.right(HOME, DIGEST, Kind.BLOB) is None
    ours.grant(HOME, DIGEST, RIGHT)
    assert await ours.right(HOME, DIGEST, Kind.BLOB) == RIGHT
    await ours.flushed()
    assert await theirs.right(HOME, DIGEST, Kind.BLOB) == RIGHT
    await ours.close()
    await theirs.close()


@pytest.mark.parametrize(
    "other",
    [
        Origin("upstream-2", 0, "team/app"),
        Origin("upstream-1", 1, "team/app"),
        Origin("upstream-1", 0, "team/apps"),
    ],
)
async def test_a_right_is_nobody_elses(path: Path, other: Origin) -> None:
    index = Index(path, ManualClock())
    index.grant(HOME, DIGEST, RIGHT)
    assert await index.right(other, DIGEST, Kind.BLOB) is None
    assert await index.right(HOME, Digest.of(b"two"), Kind.BLOB) is None
    assert other.mark != HOME.mark
    await index.close()


async def test_everything_survives_a_restart(path: Path) -> None:
    index = Index(path, ManualClock())
    for number in range(2500):
        index.grant(HOME, Digest.of(str(number).encode()), Right("x/y", number, Kind.MANIFEST))
        index.used(Digest.of(str(number).encode()))
    index.point(HOME, "latest", TagEntry(DIGEST, NOON))
    index.remember_server("registry-1", "team/app", "upstream-1")
    await index.close()
    again = Index(path, ManualClock())
    for number in (0, 1234, 2499):
        right = await again.right(HOME, Digest.of(str(number).encode()), Kind.MANIFEST)
        assert right == Right("x/y", number, Kind.MANIFEST)
    assert await again.tag(HOME, "latest") == TagEntry(DIGEST, NOON)
    assert await again.server_of("registry-1", "team/app") == "upstream-1"
    assert await again.server_of("registry-2", "team/app") is None
    await again.close()


async def test_a_newer_check_by_another_process_is_found(path: Path) -> None:
    clock = ManualClock(NOON + timedelta(minutes=5))
    ours, theirs = Index(path, clock), Index(path, clock)
    ours.point(HOME, "latest", TagEntry(DIGEST, NOON))
    await ours.flushed()
    newer = TagEntry(Digest.of(b"two"), NOON + timedelta(minutes=5))
    theirs.point(HOME, "latest", newer)
    await theirs.flushed()
    assert await ours.tag(HOME, "latest", NOON) == TagEntry(DIGEST, NOON)
    assert await ours.tag(HOME, "latest", NOON + timedelta(minutes=1)) == newer
    ours.point(HOME, "latest", TagEntry(DIGEST, NOON))
    await ours.flushed()
    await ours.close()
    await theirs.close()
    again = Index(path, clock)
    assert await again.tag(HOME, "latest") == newer
    await again.close()


async def test_older_epochs_are_removed_and_newer_ones_are_not(path: Path) -> None:
    index = Index(path, ManualClock())
    newer = Origin("upstream-1", 3, "team/app")
    index.grant(HOME, DIGEST, RIGHT)
    index.grant(newer, DIGEST, RIGHT)
    index.forget_before("upstream-1", 3)
    await index.close()
    again = Index(path, ManualClock())
    assert await again.right(HOME, DIGEST, Kind.BLOB) is None
    assert await again.right(newer, DIGEST, Kind.BLOB) == RIGHT
    await again.close()


async def test_a_file_that_is_no_database_is_replaced(path: Path) -> None:
    path.write_bytes(b"not a database, " * 1000)
    index = Index(path, ManualClock())
    index.grant(HOME, DIGEST, RIGHT)
    await index.close()
    assert index.problem is None
    again = Index(path, ManualClock())
    assert await again.right(HOME, DIGEST, Kind.BLOB) == RIGHT
    await again.close()


async def test_an_index_that_cannot_be_written_is_done_without_and_comes_back(tmp_path: Path) -> None:
    folder = tmp_path / "later"
    clock = ManualClock()
    index = Index(folder / "index.db", clock)
    index.grant(HOME, DIGEST, RIGHT)
    await index.flushed()
    assert index.problem is not None
    assert await index.right(HOME, DIGEST, Kind.BLOB) == RIGHT
    folder.mkdir()
    clock.advance(60)
    index.remember_server("registry-1", "team/app", "upstream-1")
    await index.flushed()
    assert index.problem is None
    await index.close()
    again = Index(folder / "index.db", clock)
    assert await again.right(HOME, DIGEST, Kind.BLOB) == RIGHT
    await again.close()


def test_a_memory_stays_within_its_weight_and_forgets_the_longest_unused() -> None:
    memory: Recent[str, bytes] = Recent(10, len)
    memory.put("a", b"1234")
    memory.put("b", b"1234")
    assert memory.get("a") == b"1234"
    memory.put("c", b"1234")
    assert (memory.get("a"), memory.get("b"), memory.get("c")) == (b"1234", None, b"1234")
    memory.put("d", bytes(11))
    assert len(memory) == 0
    memory.put("a", b"1")
    assert memory.get("a") == b"1"
