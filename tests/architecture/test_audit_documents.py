"""What is written of the audit is what is emitted."""

from pathlib import Path

from docs import audit_pages
from tests.support.api_world import ASSUME_ROLE, Api, running_api
from tests.support.audit_document import DOCS, deviations, document
from tests.support.wait import eventually
from vreg_shared.messages.audit import AuditEvent
from vreg_shared.messages.audit_facts import CATALOGUE


def test_the_documents_are_as_make_docs_writes_them() -> None:
    assert (DOCS / "asyncapi.yaml").read_text() == audit_pages.asyncapi(), "run `make docs`"
    page = (DOCS / "audit.md").read_text()
    assert page == audit_pages.page(page), "run `make docs`"


def test_the_document_names_every_kind_where_its_writer_publishes_it() -> None:
    addresses = {channel["address"] for channel in document()["channels"].values()}
    assert addresses == {f"vreg.audit.{kind.writer.value}.{kind.kind}" for kind in CATALOGUE}
    for operation in document()["operations"].values():
        assert operation["channel"]["$ref"].removeprefix("#/channels/") in document()["channels"]


async def test_what_the_api_emits_is_as_documented(tmp_path: Path) -> None:
    async with running_api(f"sqlite:///{tmp_path}/vreg.db") as api:
        await api.bus.come_up()
        async with api.archiving():
            await exercise(api)
            await eventually(lambda: {each.type for each in emitted(api)} >= EXPECTED)
        assert [flaw for event in emitted(api) for flaw in deviations(event)] == []


EXPECTED = {f"vreg.config.{what}" for what in ("created", "changed", "deleted", "purged")} | {
    "vreg.access.refused"
}


async def exercise(api: Api) -> None:
    identity = await api.create("identities", ASSUME_ROLE)
    changed = await api.change("identities", identity, {"name": "other"})
    assert changed.is_success, changed.text
    upstream = await api.create("upstreams", {"name": "u", "kind": "oci", "host": "harbor.example.com"})
    assert (await api.call("POST", f"/upstreams/{upstream['id']}/purge")).is_success
    assert (await api.call("DELETE", f"/identities/{identity['id']}")).is_success
    await api.call("GET", "/upstreams", headers={"Authorization": "Bearer x"})


def emitted(api: Api) -> list[AuditEvent]:
    found = (raw for subject, raw in api.bus.events.values() if subject.startswith("vreg.audit."))
    return [AuditEvent.model_validate_json(raw) for raw in found]


def test_an_event_that_says_more_or_less_than_the_document_is_noticed() -> None:
    event = AuditEvent(
        id="01KAS1G6V5X4T3NQ7R8M2C9B0Z",
        source="vreg/api/x",
        type="vreg.audit.pruned",
        time="2026-01-01T00:00:00Z",  # type: ignore[arg-type]  # as JSON has it
        subject="archive",
        data={"until_sequence": 1, "until_hash": "", "events": 1},
    )
    assert deviations(event) == []
    lacking = event.model_copy(update={"type": "vreg.audit.unheard_of"})
    assert deviations(lacking) == ["vreg.audit.unheard_of is not in the document"]
