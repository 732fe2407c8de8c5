import asyncio
from typing import Any

import pytest

from tests.support.api_world import ASSUME_ROLE, ECR_HOST, PASSWORD, Api
from tests.support.wait import eventually
from vreg_api.store.outbox import Outbox
from vreg_shared.messages.access import AccessRecord
from vreg_shared.messages.audit import AuditEvent, verify
from vreg_shared.messages.identity import IdentityRecord
from vreg_shared.messages.record import SignedRecord
from vreg_shared.messages.registry import RegistryRecord
from vreg_shared.messages.upstream import UpstreamRecord


def on_bus(api: Api, key: str) -> SignedRecord:
    bucket = "vreg_identities" if key.startswith("identity.") else "vreg_config"
    record = api.bus.record(bucket, key, api.signing_key.verifying)
    assert record is not None
    return record


async def told(api: Api) -> None:
    """Wait until nothing waits."""
    outbox = Outbox(api.database)

    async def is_empty() -> bool:
        return await outbox.count() == 0

    await eventually(is_empty)


async def everything(api: Api) -> dict[str, Any]:
    identity = await api.create("identities", ASSUME_ROLE)
    upstream = await api.create(
        "upstreams", {"name": "prod", "kind": "ecr", "host": ECR_HOST, "identity_id": identity["id"]}
    )
    registry = await api.create(
        "virtual_registries", {"slug": "team", "memberships": [{"upstream_id": upstream["id"]}]}
    )
    access = await api.create("access_tokens", {"name": "ci", "role": "puller"})
    return {"identity": identity, "upstream": upstream, "registry": registry, "access": access}


async def test_every_change_reaches_the_bus_signed_and_with_its_version(any_api: Api) -> None:
    await any_api.bus.come_up()
    async with any_api.relaying():
        made = await everything(any_api)
        await told(any_api)
        kinds = {
            "identity": IdentityRecord,
            "upstream": UpstreamRecord,
            "registry": RegistryRecord,
            "access": AccessRecord,
        }
        for noun, one in made.items():
            record = on_bus(any_api, f"{noun}.{one['id']}")
            assert (record.version, record.deleted) == (1, False)
            assert kinds[noun].model_validate_json(record.body).id == one["id"]  # type: ignore[attr-defined]
        await any_api.change("virtual_registries", made["registry"], {"slug": "renamed"})
        await told(any_api)
        record = on_bus(any_api, f"registry.{made['registry']['id']}")
        assert record.version == 2
        assert RegistryRecord.model_validate_json(record.body).slug == "renamed"


async def test_a_commit_wakes_the_relay_at_once(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vreg_api.relay.POLL_SECONDS", 3600.0)
    await api.bus.come_up()
    async with api.relaying():
        await told(api)
        made = await api.create("virtual_registries", {"slug": "team"})
        await eventually(lambda: ("vreg_config", f"registry.{made['id']}") in api.bus.values)


async def test_a_deletion_is_told_by_a_tombstone_above_the_last_version(any_api: Api) -> None:
    await any_api.bus.come_up()
    async with any_api.relaying():
        created = await any_api.create("virtual_registries", {"slug": "team"})
        await any_api.change("virtual_registries", created, {"slug": "renamed"})
        await any_api.call("DELETE", f"/virtual_registries/{created['id']}")
        await told(any_api)
        tombstone = on_bus(any_api, f"registry.{created['id']}")
        assert (tombstone.version, tombstone.deleted, tombstone.body) == (3, True, "")


async def test_the_api_answers_while_the_bus_is_down_and_tells_all_when_it_is_back(any_api: Api) -> None:
    async with any_api.relaying():
        made = await everything(any_api)
        gone = await any_api.create("virtual_registries", {"slug": "gone"})
        await any_api.call("DELETE", f"/virtual_registries/{gone['id']}")
        ready = (await any_api.client.get("/readyz")).json()
        assert ready["bus"] == "disconnected"
        assert ready["waiting_changes"] == 7  # the first admin's token too
        await any_api.bus.come_up()
        await told(any_api)
        for noun, one in made.items():
            assert on_bus(any_api, f"{noun}.{one['id']}").version == 1
        assert on_bus(any_api, f"registry.{gone['id']}").deleted


async def test_what_waits_survives_a_restart(any_api: Api) -> None:
    made = await any_api.create("virtual_registries", {"slug": "team"})
    await any_api.bus.come_up()
    async with any_api.relaying():  # as a new process would
        await told(any_api)
        assert on_bus(any_api, f"registry.{made['id']}").version == 1


async def test_a_bus_that_lost_everything_is_told_everything_again(any_api: Api) -> None:
    await any_api.bus.come_up()
    async with any_api.relaying():
        made = await everything(any_api)
        gone = await any_api.create("identities", {**PASSWORD, "name": "gone"})
        await any_api.call("DELETE", f"/identities/{gone['id']}")
        await told(any_api)
        before = dict(any_api.bus.values)
        any_api.bus.go_down(lose_everything=True)
        await any_api.bus.come_up()
        await eventually(lambda: any_api.bus.values.keys() == before.keys())
        assert any_api.bus.values == before  # signatures are deterministic: nothing new to readers
        assert on_bus(any_api, f"identity.{gone['id']}").deleted
        assert on_bus(any_api, f"upstream.{made['upstream']['id']}").version == 1


async def test_a_record_the_bus_refuses_does_not_hold_up_the_others(api: Api) -> None:
    await api.bus.come_up()
    first = await api.create("virtual_registries", {"slug": "first"})
    api.bus.refuses.add(f"registry.{first['id']}")
    async with api.relaying():
        second = await api.create("virtual_registries", {"slug": "second"})
        await eventually(lambda: ("vreg_config", f"registry.{second['id']}") in api.bus.values)
        api.bus.refuses.clear()
        await told(api)
        assert on_bus(api, f"registry.{first['id']}").version == 1


async def test_a_full_bucket_holds_up_only_what_it_does_not_take_and_that_in_order(api: Api) -> None:
    await api.bus.come_up()
    first = await api.create("virtual_registries", {"slug": "first"})
    api.bus.hinders.add(f"registry.{first['id']}")
    await api.change("virtual_registries", first, {"slug": "renamed"})
    async with api.relaying():
        second = await api.create("virtual_registries", {"slug": "second"})
        await eventually(lambda: ("vreg_config", f"registry.{second['id']}") in api.bus.values)
        assert not any(first["id"] in raw.decode() for _, raw in api.bus.events.values())
        api.bus.hinders.clear()
        await told(api)
        assert on_bus(api, f"registry.{first['id']}").version == 2
    subjects = [subject for subject, raw in api.bus.events.values() if first["id"] in raw.decode()]
    assert subjects == ["vreg.audit.api.config.created", "vreg.audit.api.config.changed"]


async def test_a_change_the_bus_refuses_does_not_keep_a_wiped_bus_empty(api: Api) -> None:
    await api.bus.come_up()
    async with api.relaying():
        told_long_ago = await api.create("virtual_registries", {"slug": "first"})
        await told(api)
        refused = await api.create("virtual_registries", {"slug": "second"})
        api.bus.refuses.add(f"registry.{refused['id']}")
        await api.change("virtual_registries", refused, {"slug": "renamed"})
        api.bus.go_down(lose_everything=True)
        await api.bus.come_up()
        await eventually(lambda: ("vreg_config", f"registry.{told_long_ago['id']}") in api.bus.values)


async def test_the_bus_gets_the_newest_record_even_if_another_process_was_faster(api: Api) -> None:
    """A slow put of an old record must not be the last word."""
    await api.bus.come_up()
    created = await api.create("virtual_registries", {"slug": "team"})
    key = f"registry.{created['id']}"
    honest = api.bus.put
    did_change = asyncio.Event()

    async def slow_put(bucket: str, put_key: str, value: bytes) -> None:
        if put_key == key and not did_change.is_set():
            did_change.set()
            await api.change("virtual_registries", created, {"slug": "newer"})
            await Outbox(api.database).remove((await Outbox(api.database).waiting(0, 100))[-1])
        await honest(bucket, put_key, value)

    api.bus.put = slow_put  # type: ignore[method-assign, assignment]
    async with api.relaying():
        await told(api)
        assert on_bus(api, key).version == 2


async def test_every_change_is_audited_with_who_and_which_fields_and_no_values(any_api: Api) -> None:
    await any_api.bus.come_up()
    async with any_api.relaying():
        created = await any_api.create("identities", ASSUME_ROLE)
        change = {
            "name": "new",
            "auth_method": {"method": "aws.assume_role", "secret_access_key": "canary-2"},
        }
        await any_api.change("identities", created, change)
        await any_api.call("DELETE", f"/identities/{created['id']}")
        await told(any_api)
    found = [
        (subject, AuditEvent.model_validate_json(raw))
        for subject, raw in any_api.bus.events.values()
        if created["id"] in raw.decode()
    ]
    for _, event in found:
        verify(event, any_api.signing_key.verifying)
    assert [subject for subject, _ in found] == [
        "vreg.audit.api.config.created",
        "vreg.audit.api.config.changed",
        "vreg.audit.api.config.deleted",
    ]
    data = found[1][1].data
    assert data["actor"] == {"access_id": any_api.admin_token.split("_")[1], "name": "bootstrap"}
    assert data["fields"] == ["name", "sealed_secrets", "credential_version"]
    assert "canary" not in found[1][1].model_dump_json()


async def test_a_refused_change_leaves_nothing_to_tell(any_api: Api) -> None:
    outbox = Outbox(any_api.database)
    before = await outbox.count()
    created = await any_api.create("virtual_registries", {"slug": "team"})
    await any_api.change("virtual_registries", {**created, "version": 9}, {"slug": "x"})
    await any_api.call("POST", "/virtual_registries", json={"slug": "team"})
    assert await outbox.count() == before + 1
