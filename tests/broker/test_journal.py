import asyncio
import errno
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.clock import ManualClock
from tests.support.wait import eventually
from vreg_shared.bus import BusUnavailableError
from vreg_shared.messages.audit import AuditEvent, verify
from vreg_shared.secret import Secret
from vreg_shared.signing import SigningKey
from vreg_token_broker.audit_publisher import AuditPublisher, Cursor
from vreg_token_broker.journal import AuditUnavailableError, Journal, Position
from vreg_token_broker.ledger import Ledger, problems

KEY = SigningKey.generate()
NOTHING = Position(0, 0)


def ledger_in(folder: Path, key: SigningKey = KEY, **limits: int) -> Ledger:
    return Ledger(Journal(folder, **limits), key, "test", ManualClock())


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    opened = ledger_in(tmp_path)
    await opened.open()
    yield opened
    await opened.close()


async def lines_of(ledger: Ledger) -> list[bytes]:
    return [line for _, line in await ledger.read(NOTHING, 100_000)]


async def fill(ledger: Ledger, count: int) -> None:
    for number in range(count):
        await ledger.record("exchange.refused", "idn1", {"number": number})


async def test_every_event_is_signed_and_names_the_one_before(ledger: Ledger) -> None:
    await fill(ledger, 20)
    lines = await lines_of(ledger)
    events = [AuditEvent.model_validate_json(line) for line in lines]
    for event in events:
        verify(event, KEY.verifying)
    assert [event.data["journal"]["sequence"] for event in events] == list(range(1, 21))
    assert problems(lines, KEY.verifying) == []


@pytest.mark.parametrize("harm", ["altered", "removed", "moved", "forged", "first removed and renumbered"])
async def test_a_verifier_names_what_was_done_to_the_journal(ledger: Ledger, harm: str) -> None:
    await fill(ledger, 10)
    lines = await lines_of(ledger)
    if harm == "altered":
        lines[4] = lines[4].replace(b'"number":4', b'"number":5')
    elif harm == "removed":
        del lines[4]
    elif harm == "moved":
        lines[4], lines[5] = lines[5], lines[4]
    elif harm == "forged":
        stranger = SigningKey.generate()
        assert problems(lines, stranger.verifying)
        return
    else:
        lines[0] = lines[1]
    assert problems(lines, KEY.verifying)


async def test_the_chain_goes_on_after_a_restart(tmp_path: Path) -> None:
    for _ in range(3):
        ledger = ledger_in(tmp_path)
        await ledger.open()
        await fill(ledger, 5)
        lines = await lines_of(ledger)
        await ledger.close()
    assert len(lines) == 15
    assert problems(lines, KEY.verifying) == []


@pytest.mark.parametrize("kept", [1, 100, -1])
async def test_a_line_torn_by_a_crash_is_cut_off_and_the_chain_holds(tmp_path: Path, kept: int) -> None:
    ledger = ledger_in(tmp_path)
    await ledger.open()
    await fill(ledger, 5)
    last = (await lines_of(ledger))[-1]
    await ledger.close()
    (file,) = tmp_path.glob("journal-*")
    with file.open("ab") as journal:
        journal.write(last[:kept])
    again = ledger_in(tmp_path)
    await again.open()
    await fill(again, 5)
    lines = await lines_of(again)
    await again.close()
    assert len(lines) == 10
    assert problems(lines, KEY.verifying) == []


async def test_kill_9_at_any_moment_loses_no_acknowledged_event(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(KEY.to_pem())
    script = f"""
import asyncio
from pathlib import Path
from tests.broker.test_journal import ledger_in
from vreg_shared.signing import SigningKey
folder = Path({str(tmp_path)!r})
async def main():
    ledger = ledger_in(folder, SigningKey.from_file(folder / "key"))
    await ledger.open()
    number = 0
    while True:
        number += 1
        await ledger.record("exchange.refused", "idn1", {{"number": number}})
        print(number, flush=True)
asyncio.run(main())
"""
    acknowledged = 0
    for _ in range(3):
        process = subprocess.Popen(  # noqa: S603, ASYNC220 - this very interpreter; the test waits for lines
            [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
        )
        assert process.stdout is not None
        for _ in range(30):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read().split()
        acknowledged += 30 + len(rest)
        process.wait()
        process.stdout.close()
    ledger = ledger_in(tmp_path)
    await ledger.open()
    lines = await lines_of(ledger)
    await ledger.close()
    assert acknowledged <= len(lines) <= acknowledged + 3
    assert problems(lines, KEY.verifying) == []


async def test_a_full_disk_writes_nothing_and_recovers(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(ledger, 3)
    real = os.write

    def full(descriptor: int, raw: bytes) -> int:
        if raw.startswith(b'{"specversion"'):
            return real(descriptor, raw[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        for _ in range(2):
            with pytest.raises(AuditUnavailableError, match="No space left"):
                await fill(ledger, 1)
        assert len(await lines_of(ledger)) == 3
    await fill(ledger, 3)
    lines = await lines_of(ledger)
    assert len(lines) == 6
    assert problems(lines, KEY.verifying) == []


async def test_a_journal_has_one_broker(ledger: Ledger, tmp_path: Path) -> None:
    await fill(ledger, 1)
    other = ledger_in(tmp_path)
    with pytest.raises(AuditUnavailableError, match="another token-broker"):
        await other.open()
    await other.close()


async def test_an_intent_whose_outcome_nobody_heard_is_closed_at_the_next_start(tmp_path: Path) -> None:
    ledger = ledger_in(tmp_path)
    await ledger.open()
    for number in range(3):
        await ledger.record("exchange.intent", "idn1", {"exchange_id": str(number), "scope": "s"})
    await ledger.record("exchange.outcome", "idn1", {"exchange_id": "1", "outcome": "issued"})
    await ledger.close()
    for expected in (2, 0):
        again = ledger_in(tmp_path)
        assert await again.open() == expected
        lines = await lines_of(again)
        await again.close()
    closing = [AuditEvent.model_validate_json(line) for line in lines[-2:]]
    assert [(each.data["exchange_id"], each.data["outcome"]) for each in closing] == [
        ("0", "unknown"),
        ("2", "unknown"),
    ]
    assert problems(lines, KEY.verifying) == []


async def test_what_looks_like_a_credential_is_masked_and_no_line_is_broken(ledger: Ledger) -> None:
    detail = "bad \r\n header Basic QVdTOnNlY3JldA==\u2028\x00 AKIAIOSFODNN7EXAMPLE"
    await ledger.record(
        "exchange.refused", "idn1", {"detail": detail, "more": [detail], "deep": {"d": detail}}
    )
    (line,) = await lines_of(ledger)
    assert b"QVdTOnNlY3JldA" not in line
    assert b"AKIAIOSFODNN7EXAMPLE" not in line
    assert b"\n" not in line


async def test_a_fingerprint_tells_tokens_apart_and_depends_on_the_broker(ledger: Ledger) -> None:
    one, other = ledger.fingerprint(Secret("token")), ledger.fingerprint(Secret("token2"))
    assert one == ledger.fingerprint(Secret("token")) != other
    assert len(one) == 32
    stranger = Ledger(Journal(Path("unused")), SigningKey.generate(), "test", ManualClock())
    assert stranger.fingerprint(Secret("token")) != one


class FakeBus:
    """Stores each message id once, as JetStream does, and fails when told to."""

    def __init__(self) -> None:
        self.stored: dict[str, tuple[str, bytes]] = {}
        self.sent = 0
        self.births = 1
        self.is_down = False

    async def publish(self, subject: str, payload: bytes, *, message_id: str) -> None:
        if self.is_down:
            raise BusUnavailableError("down")
        self.sent += 1
        self.stored.setdefault(message_id, (subject, payload))

    async def stream_birth(self, stream: str) -> str:
        return f"{stream} {self.births}"

    def lose_store(self) -> None:
        self.births += 1
        self.stored.clear()


async def test_the_journal_is_published_in_order_once_and_as_it_stands(
    ledger: Ledger, tmp_path: Path
) -> None:
    bus, cursor = FakeBus(), Cursor(tmp_path / "published.json")
    await fill(ledger, 250)
    publisher = AuditPublisher(ledger, bus, cursor)
    while await publisher.publish_some():
        pass
    assert [payload for _, payload in bus.stored.values()] == await lines_of(ledger)
    assert {subject for subject, _ in bus.stored.values()} == {"vreg.audit.token-broker.exchange.refused"}
    again = AuditPublisher(ledger, bus, cursor)
    assert await again.publish_some() == 0
    assert bus.sent == 250


async def test_a_lost_cursor_costs_no_duplicates(ledger: Ledger, tmp_path: Path) -> None:
    bus = FakeBus()
    await fill(ledger, 10)
    for name in ("one", "two"):
        await AuditPublisher(ledger, bus, Cursor(tmp_path / name)).publish_some()
    assert bus.sent == 20
    assert len(bus.stored) == 10


async def test_a_cursor_of_another_journal_leaves_nothing_out(ledger: Ledger, tmp_path: Path) -> None:
    await fill(ledger, 3)
    for number, position in enumerate((Position(9, 0), Position(1, 10**6))):
        cursor = Cursor(tmp_path / str(number))
        cursor.store(position)
        bus = FakeBus()
        assert await AuditPublisher(ledger, bus, cursor).publish_some() == 3


async def test_an_outage_is_caught_up_with(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vreg_token_broker.audit_publisher.RETRY_SECONDS", 0.01)
    bus = FakeBus()
    bus.is_down = True
    running = asyncio.create_task(AuditPublisher(ledger, bus, Cursor(tmp_path / "cursor")).run())
    await fill(ledger, 30)
    assert bus.stored == {}
    bus.is_down = False
    await eventually(lambda: len(bus.stored) == 30)
    running.cancel()
    assert [payload for _, payload in bus.stored.values()] == await lines_of(ledger)


async def test_a_stream_made_anew_is_told_everything_again_even_after_a_restart(
    ledger: Ledger, tmp_path: Path
) -> None:
    bus, cursor = FakeBus(), Cursor(tmp_path / "published.json")
    await fill(ledger, 10)
    publisher = AuditPublisher(ledger, bus, cursor)
    running = asyncio.create_task(publisher.run())
    await publisher.reconnected()
    await eventually(lambda: len(bus.stored) == 10)
    await publisher.reconnected()  # to the stream it knows
    await fill(ledger, 1)
    await eventually(lambda: len(bus.stored) == 11)
    sent = bus.sent
    bus.lose_store()
    await publisher.reconnected()
    await eventually(lambda: len(bus.stored) == 11)
    assert sent <= 21
    running.cancel()
    bus.lose_store()
    again = AuditPublisher(ledger, bus, cursor)
    await again.reconnected()
    assert await again.publish_some() == 11
    assert [payload for _, payload in bus.stored.values()] == await lines_of(ledger)


async def test_old_files_go_once_they_are_published_and_stop_the_world_if_they_cannot(tmp_path: Path) -> None:
    ledger = ledger_in(tmp_path / "journal", file_bytes=2000, total_bytes=20_000)
    await ledger.open()
    with pytest.raises(AuditUnavailableError, match="bring the bus back"):
        await fill(ledger, 100)
    before = await lines_of(ledger)
    publisher = AuditPublisher(ledger, FakeBus(), Cursor(tmp_path / "cursor"))
    while await publisher.publish_some():
        pass
    await fill(ledger, 5)
    assert sum(file.stat().st_size for file in (tmp_path / "journal").iterdir()) < 20_000
    lines = await lines_of(ledger)
    await ledger.close()
    assert len(lines) < len(before)
    assert problems(lines, KEY.verifying) == []
