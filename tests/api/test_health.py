import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.api_world import ROOT, Api
from vreg_api.health.rollup import rolled_up
from vreg_shared.messages.health import HealthRecord, HealthState, TokenLife, key_of
from vreg_shared.messages.record import RecordRejectedError, SignedRecord


def hub(name: str = "hub") -> dict[str, Any]:
    return {"name": name, "kind": "oci", "host": "registry-1.docker.io"}


async def tell(api: Api, upstream_id: str, state: HealthState, **more: Any) -> HealthRecord:  # noqa: ANN401 - fields of a record
    record = HealthRecord(**{"upstream_id": upstream_id, "state": state, "since": api.clock.now(), **more})
    version = int(api.clock.now().timestamp() * 1000)
    signed = SignedRecord(key_of(upstream_id), version, deleted=False, body=record.model_dump_json())
    await api.world.health.heard(signed, b"")
    return record


async def shown(api: Api, upstream_id: str) -> dict[str, Any]:
    answer = await api.call("GET", f"/health/upstreams/{upstream_id}")
    assert answer.status_code == 200, answer.text
    view: dict[str, Any] = answer.json()
    return view


async def test_what_nobody_has_told_is_unknown(api: Api) -> None:
    upstream = await api.create("upstreams", hub())
    view = await shown(api, upstream["id"])
    assert (view["state"], view["since"], view["reason"]) == ("unknown", None, "not_checked_yet")
    summary = (await api.call("GET", "/health")).json()
    assert (summary["states"]["unknown"], summary["is_current"]) == (1, False)


async def test_health_is_shown_with_its_token_and_how_long_pulls_go_on(api: Api) -> None:
    upstream = await api.create("upstreams", hub())
    ends = api.clock.now() + timedelta(hours=6)
    await tell(
        api,
        upstream["id"],
        HealthState.AUTH_FAILED,
        reason="permission_denied",
        remedy="Correct the trust policy.",
        breaks_at=ends,
        token=TokenLife(not_after=ends, failures=3),
    )
    api.clock.advance(3600)
    view = await shown(api, upstream["id"])
    assert (view["state"], view["reason"]) == ("auth_failed", "permission_denied")
    assert view["outage_budget_seconds"] == 5 * 3600
    assert datetime.fromisoformat(view["breaks_at"]) == ends
    assert view["token"]["failures"] == 3
    listed = (await api.call("GET", "/health/upstreams")).json()
    assert listed["items"] == [view]


async def test_changes_are_kept_once_each_and_shown_the_latest_first(any_api: Api) -> None:
    api = any_api
    upstream = await api.create("upstreams", hub())
    await tell(api, upstream["id"], HealthState.HEALTHY)
    first = await tell(api, upstream["id"], HealthState.HEALTHY, checked_at=api.clock.now())
    api.clock.advance(60)
    await tell(api, upstream["id"], HealthState.UNREACHABLE, reason="timeout")
    history = (await api.call("GET", f"/health/upstreams/{upstream['id']}/history")).json()
    assert [each["state"] for each in history] == ["unreachable", "healthy"]
    assert datetime.fromisoformat(history[1]["since"]) == first.since


async def test_an_acknowledgement_holds_until_something_changes(any_api: Api) -> None:
    api = any_api
    upstream = await api.create("upstreams", hub())
    await tell(api, upstream["id"], HealthState.UNREACHABLE, reason="timeout")
    where = f"/health/upstreams/{upstream['id']}/acknowledge"
    seen = (await api.call("POST", where, json={"note": "on it"})).json()
    assert (seen["acknowledgement"]["note"], seen["acknowledgement"]["by"]) == ("on it", "bootstrap")
    again = (await api.call("POST", where, json={})).json()
    assert again["acknowledgement"]["note"] == ""
    api.clock.advance(1)
    await tell(api, upstream["id"], HealthState.AUTH_FAILED, reason="permission_denied")
    assert (await shown(api, upstream["id"]))["acknowledgement"] is None


async def test_a_virtual_registry_is_as_well_as_its_upstreams_together(api: Api) -> None:
    one, two = await api.create("upstreams", hub("one")), await api.create("upstreams", hub("two"))
    memberships = [{"upstream_id": one["id"]}, {"upstream_id": two["id"]}]
    registry = await api.create("virtual_registries", {"slug": "all", "memberships": memberships})
    await tell(api, one["id"], HealthState.HEALTHY)
    await tell(api, two["id"], HealthState.UNREACHABLE)
    view = (await api.call("GET", f"/health/virtual_registries/{registry['id']}")).json()
    assert (view["state"], [each["state"] for each in view["upstreams"]]) == (
        "degraded",
        ["healthy", "unreachable"],
    )
    await api.change("upstreams", two, {"enabled": False})
    listed = (await api.call("GET", "/health/virtual_registries")).json()
    assert [each["state"] for each in listed["items"]] == ["healthy"]


async def test_changes_are_streamed_as_they_come(api: Api) -> None:
    upstream = await api.create("upstreams", hub())
    changes = api.world.health.follow(ROOT)
    waiting = asyncio.create_task(anext(changes))
    while not api.world.health.book.position:
        await asyncio.sleep(0)
        await tell(api, upstream["id"], HealthState.UNREACHABLE, reason="timeout")
    view = await asyncio.wait_for(waiting, 10)
    assert (view.upstream_name, view.state) == ("hub", HealthState.UNREACHABLE)
    await changes.aclose()


async def test_a_record_that_cannot_be_read_is_rejected_and_the_last_one_stays(api: Api) -> None:
    upstream = await api.create("upstreams", hub())
    await tell(api, upstream["id"], HealthState.HEALTHY)
    with pytest.raises(RecordRejectedError):
        await api.world.health.heard(SignedRecord(key_of(upstream["id"]), 9, deleted=False, body="{}"), b"")
    assert (await shown(api, upstream["id"]))["state"] == "healthy"
    await api.world.health.heard(SignedRecord(key_of(upstream["id"]), 10, deleted=True, body=""), b"")
    assert (await shown(api, upstream["id"]))["state"] == "unknown"


async def test_what_is_not_there_is_not_found(api: Api) -> None:
    absent = "01KAS1G6V5X4T3NQ7R8M2C9B0Z"
    for path in (f"upstreams/{absent}", f"upstreams/{absent}/history", f"virtual_registries/{absent}"):
        assert (await api.call("GET", f"/health/{path}")).status_code == 404
    answer = await api.call("POST", f"/health/upstreams/{absent}/acknowledge", json={})
    assert answer.status_code == 404


@given(st.lists(st.sampled_from(HealthState), max_size=6))
def test_one_that_fails_beside_others_never_hides_and_never_takes_all_down(states: list[HealthState]) -> None:
    failing = {HealthState.AUTH_FAILED, HealthState.UNREACHABLE}
    whole = rolled_up(states)
    if failing & set(states):
        assert whole is not HealthState.HEALTHY
        assert (whole in failing) == (set(states) <= failing)
    if HealthState.DEGRADED in states:
        assert whole is HealthState.DEGRADED
