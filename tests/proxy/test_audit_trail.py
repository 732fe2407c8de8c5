"""What the proxy tells the audit arrives signed and in order, and never holds anybody up."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.clock import ManualClock
from tests.support.fake_record_bus import FakeRecordBus
from tests.support.nats_server import NatsServer, running_nats_server
from tests.support.wait import eventually
from vreg_proxy import audit
from vreg_proxy.audit import MOST_WAITING, AuditTrail, Publishes
from vreg_shared.bus import BusRefusedError
from vreg_shared.key_files import Service
from vreg_shared.messages.audit import AuditEvent, verify
from vreg_shared.signing import SigningKey

KEY = SigningKey.generate()


@asynccontextmanager
async def publishing(trail: AuditTrail, bus: Publishes) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(trail.run(bus))
        yield
        task.cancel()


def trail_of(bus: FakeRecordBus) -> list[AuditEvent]:
    return [AuditEvent.model_validate_json(payload) for _, payload in bus.events.values()]


async def test_an_event_is_published_where_the_proxy_may_and_signed_by_it() -> None:
    bus, trail = FakeRecordBus(), AuditTrail(KEY, "proxy-1", ManualClock())
    await bus.come_up()
    trail.tell("pull.source_changed", "registry.r", {"repository": "team/app"})
    async with publishing(trail, bus):
        await eventually(lambda: bus.events)
    (event,) = trail_of(bus)
    verify(event, KEY.verifying)
    assert (event.source, event.type) == ("vreg/proxy/proxy-1", "vreg.pull.source_changed")
    assert (event.subject, event.data) == ("registry.r", {"repository": "team/app"})
    assert [subject for subject, _ in bus.events.values()] == ["vreg.audit.proxy.pull.source_changed"]


async def test_events_wait_in_order_while_the_bus_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "RETRY_SECONDS", 0.01)
    clock = ManualClock()
    bus, trail = FakeRecordBus(), AuditTrail(KEY, "proxy-1", clock)
    told_at = clock.now()
    for number in range(3):
        trail.tell("pull.source_changed", f"registry.{number}", {})
    async with publishing(trail, bus):
        clock.advance(100)
        await bus.come_up()
        await eventually(lambda: len(bus.events) == 3)
    assert [event.subject for event in trail_of(bus)] == ["registry.0", "registry.1", "registry.2"]
    assert {event.time for event in trail_of(bus)} == {told_at}


async def test_what_finds_no_room_is_dropped_and_counted() -> None:
    trail = AuditTrail(KEY, "proxy-1", ManualClock())
    for _ in range(MOST_WAITING + 5):
        trail.tell("pull.source_changed", "registry.r", {})
    assert trail.dropped == 5


class RefusingBus(FakeRecordBus):
    async def publish(self, subject: str, payload: bytes, *, message_id: str) -> None:
        if b"refused" in payload:
            raise BusRefusedError("not this one, says the test")
        await super().publish(subject, payload, message_id=message_id)


async def test_an_event_the_bus_refuses_does_not_hold_up_the_next() -> None:
    bus, trail = RefusingBus(), AuditTrail(KEY, "proxy-1", ManualClock())
    await bus.come_up()
    trail.tell("pull.source_changed", "refused", {})
    trail.tell("pull.source_changed", "taken", {})
    async with publishing(trail, bus):
        await eventually(lambda: bus.events)
    assert [event.subject for event in trail_of(bus)] == ["taken"]
    assert trail.dropped == 1


async def test_a_real_bus_stores_what_the_proxy_tells(tmp_path: Path) -> None:
    trail = AuditTrail(KEY, "proxy-1", ManualClock())
    trail.tell("pull.source_changed", "registry.r", {"repository": "team/app"})
    async with running_nats_server(tmp_path / "nats") as server:
        await server.create_streams()
        async with server.bus(Service.PROXY) as bus, publishing(trail, bus):
            await eventually(lambda: _is_stored(server))
    assert trail.dropped == 0


async def _is_stored(server: NatsServer) -> bool:
    return await server.stream_state("VREG_AUDIT", "messages") == 1
