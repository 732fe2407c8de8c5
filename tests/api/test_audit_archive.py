"""The archive: each event once, in a chain that names whatever is altered, lost or moved."""

import asyncio
import itertools
import shutil
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.support.api_world import ASSUME_ROLE, Api, running_api
from tests.support.audit_writer import AuditWriter
from tests.support.wait import eventually
from vreg_api.archiver import Archiver
from vreg_api.audit.archive import Archive
from vreg_api.store.database import DatabaseUnavailableError
from vreg_api.store.tables import AUDIT_CHAIN, AUDIT_CONCERNED, AUDIT_EVENTS, AUDIT_REJECTED
from vreg_shared.bus import Bookmark, Stored
from vreg_shared.key_files import Service
from vreg_shared.messages import audit
from vreg_shared.messages.audit import AuditEvent
from vreg_shared.messages.audit_chain import Verified, flaws, imported
from vreg_shared.signing import SigningKey


async def publish(api: Api, *events: AuditEvent) -> None:
    for event in events:
        await api.bus.publish(event.bus_subject, event.line().encode(), message_id=event.id)


def writer(api: Api, instance: str = "broker-1") -> AuditWriter:
    return AuditWriter(api.writers[Service.TOKEN_BROKER], api.clock, instance)


async def events(api: Api, **query: str) -> list[dict[str, Any]]:
    answer = await api.client.get("/api/v1/audit-events", params={"order": "oldest", **query})
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


async def chain(api: Api) -> dict[str, Any]:
    answer = await api.call("GET", "/audit-chain?whole=true")
    assert answer.status_code == 200, answer.text
    report: dict[str, Any] = answer.json()
    return report


async def archived(api: Api, count: int) -> None:
    async def is_there() -> bool:
        return (await chain(api))["length"] == count

    await eventually(is_there)


@pytest.fixture
async def ten(any_api: Api) -> Api:
    """An api that has archived ten events of a broker, and one of its own."""
    await any_api.bus.come_up()
    broker = writer(any_api)
    async with any_api.archiving():
        await archived(any_api, 1)
        await publish(any_api, *(broker.event(outcome="issued", identity_id=f"idn{n}") for n in range(10)))
        await archived(any_api, 11)
    return any_api


async def altered(api: Api, *statements: sa.Executable) -> None:
    async with api.database.write() as tx:
        for statement in statements:
            await tx.execute(statement)


async def test_every_event_is_archived_once_in_a_sound_chain(ten: Api) -> None:
    report = await chain(ten)
    assert report == report | {"is_intact": True, "flaws": [], "gaps": [], "rejected": 0}
    assert (report["length"], report["verified_until"]) == (11, 11)
    found = await events(ten)
    assert [each["sequence"] for each in found] == list(range(1, 12))
    assert report["head_hash"] == found[-1]["hash"]


async def test_an_event_that_comes_again_is_not_archived_again(ten: Api) -> None:
    stored = [
        Stored(number, subject, payload)
        for number, (subject, payload) in enumerate(ten.bus.events.values(), start=1)
    ]
    archive = ten.world.audit_events.archive
    await archive.add(stored)
    await asyncio.gather(*(archive.add(stored[:5]) for _ in range(3)))
    assert (await chain(ten))["length"] == 11


async def test_two_archivers_at_once_make_one_chain(any_api: Api) -> None:
    """Two api processes read the same stream."""
    broker = writer(any_api)
    made = [broker.event(outcome="issued") for _ in range(40)]
    stored = [Stored(n, each.bus_subject, each.line().encode()) for n, each in enumerate(made, start=1)]
    archive = any_api.world.audit_events.archive

    async def add_all() -> None:
        for start in range(0, 40, 5):
            await archive.add(stored[start : start + 5])

    await asyncio.gather(add_all(), add_all(), add_all())
    report = await chain(any_api)
    assert (report["length"], report["flaws"], report["gaps"]) == (40, [], [])


ROW = AUDIT_EVENTS.c.sequence
TAMPERING = {
    "an event deleted": (
        [
            sa.delete(AUDIT_CONCERNED).where(AUDIT_CONCERNED.c.sequence == 5),
            sa.delete(AUDIT_EVENTS).where(ROW == 5),
        ],
        "event 5 is missing",
    ),
    "the last event deleted": (
        [
            sa.delete(AUDIT_CONCERNED).where(AUDIT_CONCERNED.c.sequence == 11),
            sa.delete(AUDIT_EVENTS).where(ROW == 11),
        ],
        "event 11 is missing",
    ),
    "an event altered": (
        [
            sa.update(AUDIT_EVENTS)
            .where(ROW == 7)
            .values(event=sa.func.replace(AUDIT_EVENTS.c.event, "idn", "odn"))
        ],
        "event 7 was altered",
    ),
    "a hash altered": (
        [sa.update(AUDIT_EVENTS).where(ROW == 4).values(hash="0" * 64)],
        "event 4 was altered",
    ),
    "events exchanged": (
        [
            sa.update(AUDIT_EVENTS).where(ROW == 6).values(sequence=99),
            sa.update(AUDIT_EVENTS).where(ROW == 7).values(sequence=6),
            sa.update(AUDIT_EVENTS).where(ROW == 99).values(sequence=7),
        ],
        "event 6 was altered",
    ),
    "the head moved back": (
        [sa.update(AUDIT_CHAIN).values(sequence=10)],
        "event 10, is not signed by the api",
    ),
    "a made-up anchor": (
        [sa.update(AUDIT_CHAIN).values(anchor="{}")],
        "the anchor of what was pruned was altered",
    ),
}


@pytest.mark.parametrize("what", TAMPERING)
async def test_whatever_is_done_to_the_archive_is_named(ten: Api, what: str) -> None:
    statements, expected = TAMPERING[what]
    if what == "events exchanged":
        await altered(ten, sa.delete(AUDIT_CONCERNED))
    await altered(ten, *statements)
    report = await chain(ten)
    assert not report["is_intact"]
    assert any(expected in flaw for flaw in report["flaws"]), report["flaws"]


async def test_looking_again_goes_on_from_where_it_was_sound(ten: Api) -> None:
    await chain(ten)
    again = (await ten.call("GET", "/audit-chain")).json()
    assert (again["verified_from"], again["verified_until"], again["is_intact"]) == (12, 11, True)


async def test_what_nobody_signed_is_kept_apart_and_stops_nothing(any_api: Api) -> None:
    await any_api.bus.come_up()
    broker, stranger = writer(any_api), AuditWriter(SigningKey.generate(), any_api.clock)
    good, forged = broker.event(outcome="issued"), stranger.event(outcome="issued")
    altered_later = broker.event(outcome="issued").model_copy(update={"subject": "other"})
    async with any_api.archiving():
        await archived(any_api, 1)
        for number, junk in enumerate((b"", b"\xff\x00", b"{}", b"[" * 50_000, b'{"id": "\\ud800"}')):
            await any_api.bus.publish("vreg.audit.proxy.x", junk, message_id=f"junk{number}")
        await publish(any_api, forged, altered_later)
        await any_api.bus.publish(
            "vreg.audit.proxy.x", broker.event().line().encode(), message_id="elsewhere"
        )
        await publish(any_api, good)
        await archived(any_api, 2)
        assert (await chain(any_api))["rejected"] == 8
    found = await events(any_api, writer="token-broker")
    assert [each["event"]["id"] for each in found] == [good.id]
    async with any_api.database.read() as tx:
        reasons = list((await tx.execute(sa.select(AUDIT_REJECTED.c.reason))).scalars())
    assert sum("is not signed by" in reason for reason in reasons) == 2


async def test_what_a_writer_numbered_and_never_arrived_is_a_gap_until_it_does(any_api: Api) -> None:
    await any_api.bus.come_up()
    broker = writer(any_api)
    first, lost, last = (broker.event(outcome="issued") for _ in range(3))
    async with any_api.archiving():
        await publish(any_api, first, last)
        await archived(any_api, 3)
        report = await chain(any_api)
        assert report["gaps"] == [{"source": "vreg/token-broker/broker-1", "after": 1, "before": 3}]
        assert not report["is_intact"]
        await publish(any_api, lost)
        await archived(any_api, 4)
        report = await chain(any_api)
        assert (report["gaps"], report["is_intact"]) == ([], True)


async def test_the_apis_own_events_need_no_bus_that_keeps_them(any_api: Api) -> None:
    """What left the outbox is archived, even if the bus loses its store before anybody read it."""
    await any_api.bus.come_up()
    async with any_api.relaying():
        created = await any_api.create("virtual_registries", {"slug": "team"})
        await archived(any_api, 2)
        any_api.bus.events.clear()
    [found] = await events(any_api, registry=created["id"])
    assert found["event"]["type"] == "vreg.config.created"


async def test_old_events_go_and_the_chain_still_proves_itself(tmp_path: Path, migrated: Path) -> None:
    shutil.copy(migrated, tmp_path / "vreg.db")
    url = f"sqlite:///{tmp_path}/vreg.db"
    async with running_api(url, is_migrated=True, audit_retention=timedelta(days=30)) as api:
        await api.bus.come_up()
        broker = writer(api)
        async with api.archiving():
            await publish(api, *(broker.event(outcome="issued") for _ in range(5)))
            await archived(api, 6)
            api.clock.advance(31 * 86400)
            await publish(api, broker.event(outcome="issued"))
            await archived(api, 7)
            assert await api.world.audit_events.prune() == 6
            await archived(api, 2)  # the pruning is an event itself
            report = await chain(api)
            assert (report["is_intact"], report["pruned_until"], report["verified_from"]) == (True, 6, 7)
            assert await api.world.audit_events.prune() == 0
        await altered(api, sa.delete(AUDIT_CONCERNED), sa.delete(AUDIT_EVENTS).where(ROW == 7))
        assert "event 7 is missing" in (await chain(api))["flaws"][0]


async def test_an_export_verifies_with_nothing_but_public_keys(ten: Api) -> None:
    answer = await ten.call("GET", "/audit-events/export")
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    links = [imported(line) for line in answer.text.splitlines()]
    keys = {service: key.verifying for service, key in ten.writers.items()}
    keys[Service.API] = ten.signing_key.verifying
    assert len(links) == 11
    assert list(flaws(links, keys, Verified())) == []
    assert list(flaws(links[:3] + links[4:], keys, Verified())) != []


async def test_changes_are_told_field_by_field_and_secrets_only_as_changed(any_api: Api) -> None:
    await any_api.bus.come_up()
    async with any_api.relaying():
        created = await any_api.create("identities", ASSUME_ROLE)
        change = {
            "name": "new\u2028name".replace("\u2028", " "),
            "auth_method": {"method": "aws.assume_role", "secret_access_key": "canary-2"},
        }
        await any_api.change("identities", created, change)
        await archived(any_api, 3)
    _, changed = await events(any_api, identity=created["id"])
    told = {each["field"]: each for each in changed["event"]["data"]["changes"]}
    assert (told["name"]["before"], told["name"]["after"]) == ("production", "new name")
    assert told["sealed_secrets"] == {"field": "sealed_secrets", "is_secret": True}
    assert "canary" not in (await any_api.call("GET", "/audit-events/export")).text


async def test_a_database_that_is_away_is_waited_for_and_then_caught_up_with(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vreg_api.archiver.delays", lambda *_: itertools.repeat(0.001))
    archive, failures = Flaky(api.world.audit_events.archive), 3
    archive.failures = failures
    await api.bus.come_up()
    broker = writer(api)
    await publish(api, *(broker.event(outcome="issued") for _ in range(5)))
    running = asyncio.create_task(Archiver(api.bus, audit.STREAM, archive).run())
    await archived(api, 5)
    running.cancel()
    assert archive.failures == 0
    assert (await chain(api))["is_intact"]


class Flaky:
    """An archive whose database is away for some calls."""

    def __init__(self, archive: Archive) -> None:
        self.failures = 0
        self._archive = archive

    async def bookmark(self) -> Bookmark | None:
        self._fail()
        return await self._archive.bookmark()

    async def add(self, messages: Sequence[Stored]) -> None:
        self._fail()
        await self._archive.add(messages)

    async def set_aside(self, message: Stored, reason: str) -> None:
        await self._archive.set_aside(message, reason)

    def _fail(self) -> None:
        if self.failures:
            self.failures -= 1
            raise DatabaseUnavailableError("away, says the test")
