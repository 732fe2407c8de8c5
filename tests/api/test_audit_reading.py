"""The audit as callers see it: filtered, page by page, followed, and with every refusal in it."""

import json
from typing import Any

import httpx
import pytest

from tests.support.api_world import Api
from tests.support.audit_writer import AuditWriter
from tests.support.wait import eventually
from vreg_api.audit.refusals import MAX_KINDS, WINDOW_SECONDS
from vreg_api.audit.schemas import Filter
from vreg_api.store.database import DatabaseUnavailableError
from vreg_shared.failure_limit import FREE
from vreg_shared.key_files import Service
from vreg_shared.messages.access import new_token
from vreg_shared.messages.audit import AuditEvent, audit_event
from vreg_shared.messages.audit_facts import KINDS
from vreg_shared.messages.pulls import SUBJECT, Pull, PullBatch
from vreg_shared.signing import SigningKey

LINE_ENDS = "\r\n\x0b\x0c\x1c\x85\u2028\u2029"


async def listed(api: Api, **query: str) -> list[dict[str, Any]]:
    answer = await api.client.get("/api/v1/audit-events", params={"order": "oldest", **query})
    assert answer.status_code == httpx.codes.OK, answer.text
    return [each["event"] for each in answer.json()["items"]]


async def told(api: Api, count: int, **query: str) -> list[dict[str, Any]]:
    async def is_there() -> bool:
        return len(await listed(api, **query)) >= count

    await eventually(is_there)
    return await listed(api, **query)


async def test_events_are_found_by_type_writer_actor_thing_outcome_and_time(any_api: Api) -> None:
    await any_api.bus.come_up()
    broker = AuditWriter(any_api.writers[Service.TOKEN_BROKER], any_api.clock)
    async with any_api.archiving():
        wish = {"name": "prod", "kind": "oci", "host": "harbor.example.com"}
        upstream = await any_api.create("upstreams", wish)
        await told(any_api, 2)
        any_api.clock.advance(3600)
        later = any_api.clock.now().isoformat()
        made = [
            broker.event(outcome=outcome, identity_id="idn1", upstream_id=upstream["id"])
            for outcome in ("issued", "refused")
        ]
        for event in made:
            await any_api.bus.publish(event.bus_subject, event.line().encode(), message_id=event.id)
        await told(any_api, 4)
    ids = {
        name: [each["id"] for each in await listed(any_api, **query)]
        for name, query in {
            "type": {"type": "vreg.exchange.outcome"},
            "writer": {"writer": "token-broker"},
            "outcome": {"outcome": "refused"},
            "identity": {"identity": "idn1"},
            "time": {"since": later},
            "before": {"until": later},
            "upstream": {"upstream": upstream["id"]},
            "actor": {"actor": "bootstrap", "upstream": upstream["id"]},
            "actor id": {"actor": any_api.admin_token.split("_")[1]},
            "nothing": {"actor": "nobody"},
        }.items()
    }
    two = [each.id for each in made]
    assert ids["type"] == ids["writer"] == ids["identity"] == ids["time"] == two
    assert ids["outcome"] == two[1:]
    assert len(ids["before"]) == 2
    assert ids["upstream"][1:] == two
    assert ids["actor"] == ids["upstream"][:1] == ids["actor id"]
    assert ids["nothing"] == []


async def test_pages_lead_to_each_other_in_either_order(api: Api) -> None:
    await api.bus.come_up()
    async with api.relaying():
        for number in range(6):
            await api.create("virtual_registries", {"slug": f"r{number}"})
        await told(api, 7)
    for order in ("newest", "oldest"):
        found: list[int] = []
        cursor: dict[str, str] = {}
        while True:
            query = {"order": order, "limit": "3", **cursor}
            page = (await api.client.get("/api/v1/audit-events", params=query)).json()
            found += [each["sequence"] for each in page["items"]]
            if page["next_cursor"] is None:
                break
            cursor = {"cursor": page["next_cursor"]}
        assert found == sorted(range(1, 8), reverse=order == "newest")
    [first] = (await api.client.get("/api/v1/audit-events", params={"order": "oldest", "limit": "1"})).json()[
        "items"
    ]
    one = await api.call("GET", f"/audit-events/{first['event']['id']}")
    assert one.json() == first
    assert (await api.call("GET", "/audit-events/01KAS1G6V5X4T3NQ7R8M2C9B0Z")).status_code == 404


@pytest.mark.parametrize(
    "query",
    [
        "actor=%00",
        "cursor=x",
        "cursor=99999999999999999999",
        "since=0001-01-01T00:00:00%2B10:00",
        "order=up",
        "limit=0",
    ],
)
async def test_a_query_that_cannot_be_is_refused(api: Api, query: str) -> None:
    answer = await api.call("GET", f"/audit-events?{query}")
    assert answer.status_code == httpx.codes.UNPROCESSABLE_ENTITY


async def test_the_tail_begins_after_the_last_event_one_has(api: Api) -> None:
    await api.bus.come_up()
    async with api.relaying():
        for number in range(3):
            await api.create("virtual_registries", {"slug": f"r{number}"})
        await told(api, 4)
        tail = api.world.audit_events.tail(Filter(), after=2)
        seen = [(await anext(tail)) for _ in range(2)]
        assert [link.sequence for link in seen if link] == [3, 4]
        created = await api.create("virtual_registries", {"slug": "new"})
        async for link in tail:
            if link is not None:
                assert created["id"] in link.event
                break
        await tail.aclose()  # type: ignore[attr-defined]  # it is a generator


@pytest.mark.parametrize("character", LINE_ENDS)
async def test_no_field_that_somebody_chose_makes_two_lines_of_one(api: Api, character: str) -> None:
    """Names refuse such characters, but descriptions may hold some, and paths any."""
    await api.bus.come_up()
    async with api.archiving():
        await api.create("virtual_registries", {"slug": "team", "description": f"a\tb{character.strip()}"})
        key = api.writers[Service.TOKEN_BROKER]
        made = _event(key, api, f"x{character}y")
        await api.bus.publish(made.bus_subject, made.line().encode(), message_id=made.id)
        await told(api, 3)
    text = (await api.call("GET", "/audit-events/export")).text
    assert len(text.splitlines()) == 3
    assert all(json.loads(line)["event"] for line in text.splitlines())
    assert (await api.call("GET", "/audit-chain?whole=true")).json()["flaws"] == []


def _event(key: SigningKey, api: Api, detail: str) -> AuditEvent:
    return audit_event(
        writer=Service.TOKEN_BROKER,
        instance="b",
        kind="exchange.refused",
        subject=detail,
        time=api.clock.now(),
        data={"detail": detail, "identity_name": detail},
        signing_key=key,
    )


async def test_every_refusal_counts_and_a_flood_of_them_is_few_events(any_api: Api) -> None:
    puller = (await any_api.create("access_tokens", {"name": "ci", "role": "puller"}))["token"]
    await any_api.bus.come_up()
    async with any_api.archiving():
        await any_api.call("GET", "/upstreams", headers={"Authorization": "Bearer nonsense"})
        await told(any_api, 1, type="vreg.access.refused")
        for _ in range(19):
            await any_api.call("GET", "/upstreams", headers={"Authorization": "Bearer nonsense"})
        await any_api.call("GET", "/upstreams", headers={"Authorization": f"Bearer {puller}"})
        await any_api.call("GET", "/upstreams", headers={"Authorization": ""})
        await told(any_api, 4, type="vreg.access.refused")
        any_api.clock.advance(WINDOW_SECONDS + 1)

        async def all_are_told() -> bool:
            events = await listed(any_api, type="vreg.access.refused")
            return sum(each["data"]["count"] for each in events) == 22

        await eventually(all_are_told)
        found = await listed(any_api, type="vreg.access.refused")
    reasons: dict[str, int] = {}
    for event in found:
        KINDS["access.refused"].model_validate(event["data"])
        reasons[event["data"]["reason"]] = reasons.get(event["data"]["reason"], 0) + event["data"]["count"]
    wanted = {"invalid_token": FREE, "too_many_failures": 20 - FREE, "forbidden": 1, "unauthenticated": 1}
    assert reasons == wanted
    assert len(found) <= 6
    [forbidden] = [each for each in found if each["data"]["reason"] == "forbidden"]
    assert forbidden["subject"] == puller.split("_")[1]
    assert puller not in json.dumps(found)


async def test_invented_token_ids_make_no_kinds_of_refusals(api: Api) -> None:
    claimed = [f"{number:026d}" for number in range(3)]
    for access_id in claimed:
        bearer = new_token(access_id).reveal()
        await api.call("GET", "/upstreams", headers={"Authorization": f"Bearer {bearer}"})
    await api.bus.come_up()
    async with api.relaying():
        await api.world.refusals.record()
        [event] = await told(api, 1, type="vreg.access.refused")
    assert event["data"]["count"] == 3
    assert event["data"]["access_id"] == event["subject"] == claimed[0]


async def test_a_flood_of_unproved_refusals_leaves_room_for_proved_ones(api: Api) -> None:
    puller = (await api.create("access_tokens", {"name": "ci", "role": "puller"}))["token"]
    for number in range(MAX_KINDS):
        api.world.refusals.note(("invalid_token", "nobody", f"client{number}"), "GET", "/api/v1/upstreams")
    await api.call("GET", "/upstreams", headers={"Authorization": f"Bearer {puller}"})
    await api.bus.come_up()
    async with api.relaying():
        await api.world.refusals.record()

        async def is_told() -> bool:
            newest = await listed(api, order="newest", type="vreg.access.refused")
            return any(each["data"]["reason"] == "forbidden" for each in newest)

        await eventually(is_told, deadline=60)


async def test_more_kinds_of_refusals_than_can_be_told_apart_are_still_counted(api: Api) -> None:
    refusals = api.world.refusals
    for number in range(MAX_KINDS + 500):
        refusals.note(("invalid_token", "nobody", f"client{number}"), "GET", "/api/v1/upstreams")
    await api.bus.come_up()
    async with api.relaying():
        await refusals.record()
        found: list[dict[str, Any]] = []

        async def all_there() -> bool:
            found[:] = await listed(api, type="vreg.access.refused", limit="1000")
            newest = await listed(api, outcome="refused", order="newest", limit="1000")
            return len({each["id"] for each in [*found, *newest]}) == MAX_KINDS + 1

        await eventually(all_there, deadline=60)
        last = await listed(api, type="vreg.access.refused", order="newest", limit="1000")
    events = {each["id"]: each["data"]["count"] for each in [*found, *last]}
    assert sum(events.values()) == MAX_KINDS + 500


async def test_refusals_wait_for_a_database_that_is_away(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    refusals, honest = api.world.refusals, api.world.refusals._ledger.note  # noqa: SLF001 - its failure is the case

    async def away(*_: object) -> None:
        raise DatabaseUnavailableError("away, says the test")

    monkeypatch.setattr(api.world.refusals._ledger, "note", away)  # noqa: SLF001 - the same
    for _ in range(3):
        refusals.note(("invalid_token", "nobody", "c"), "GET", "/api/v1/x")
        await refusals.record()
    monkeypatch.setattr(api.world.refusals._ledger, "note", honest)  # noqa: SLF001 - the same
    await api.bus.come_up()
    async with api.relaying():
        await refusals.record()
        [event] = await told(api, 1, type="vreg.access.refused")
    assert event["data"]["count"] == 3


async def test_pulls_are_archived_once_and_go_after_a_while(any_api: Api) -> None:
    await any_api.bus.come_up()
    pulls = tuple(
        Pull(
            time=any_api.clock.now(),
            access_id="acc1",
            registry_id="reg1",
            upstream_id="ups1",
            repository=f"team/app{number}",
            reference="latest",
            digest="sha256:" + "a" * 64,
            what="manifest",
            hit="memory",
            bytes=10,
            count=5,
        )
        for number in range(3)
    )
    batch = PullBatch(id="batch1", proxy="p1", pulls=pulls).model_dump_json().encode()
    async with any_api.archiving():
        await any_api.bus.publish(SUBJECT, b"junk", message_id="junk")
        await any_api.bus.publish(SUBJECT, batch, message_id="1")
        await any_api.bus.publish(SUBJECT, batch, message_id="2")
        last = PullBatch(id="batch2", proxy="p1", pulls=pulls[:1]).model_dump_json().encode()
        await any_api.bus.publish(SUBJECT, last, message_id="3")

        async def all_there() -> bool:
            return len((await any_api.call("GET", "/pulls")).json()["items"]) == 4

        await eventually(all_there)
    found = (await any_api.call("GET", "/pulls?repository=team/app1&access_id=acc1&limit=1")).json()
    assert [(each["count"], each["hit"], each["proxy"]) for each in found["items"]] == [(5, "memory", "p1")]
    assert found["next_cursor"] is None
    any_api.clock.advance(8 * 86400)
    pruned: list[int] = []

    async def are_pruned() -> bool:
        try:
            pruned.append(await any_api.world.pull_log.prune())
        except DatabaseUnavailableError:
            return False  # what was archiving may still hold the file
        return True

    await eventually(are_pruned)
    assert pruned == [4]
