import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest

from tests.support.api_world import ASSUME_ROLE, ECR_HOST, PASSWORD, Api
from tests.support.wait import eventually
from vreg_shared.messages.connection_test import (
    CLIMB,
    PULL,
    REACH,
    SUBJECT,
    ConnectionOrder,
    Stage,
    StageReport,
)
from vreg_shared.messages.signed_request import read_request
from vreg_shared.sealing import open_sealed

ALL = (*REACH, *CLIMB, *PULL)
UPSTREAM = {"name": "prod", "kind": "ecr", "host": ECR_HOST, "probe": "team/app:1"}
Reports = dict[Stage, dict[str, Any]]


class FakeBroker:
    """Takes orders, and reports as it was told to."""

    def __init__(self, api: Api, failures: Reports | None = None) -> None:
        self._api = api
        self.failures = failures or {}
        self.orders: list[ConnectionOrder] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.stops_before: Stage | None = None

    async def tell(self, payload: bytes) -> AsyncGenerator[bytes, None]:
        body = read_request(payload, SUBJECT, self._api.signing_key.verifying, self._api.clock.now())
        self.orders.append(ConnectionOrder.model_validate_json(body))
        for stage in ALL:
            if stage is self.stops_before:
                await self.gate.wait()
            facts = {"principal": "arn:aws:sts::123456789012:assumed-role/vreg-pull/x"}
            report = {"outcome": "passed", "facts": facts if stage is Stage.EXCHANGE else {}}
            report |= self.failures.get(stage, {})
            yield StageReport.model_validate({"stage": stage, **report}).model_dump_json().encode()


@pytest.fixture
async def broker(api: Api) -> FakeBroker:
    await api.bus.come_up()
    broker = FakeBroker(api)
    api.bus.tellers[SUBJECT] = broker.tell
    return broker


async def saved(api: Api) -> dict[str, Any]:
    identity = await api.create("identities", ASSUME_ROLE)
    return await api.create("upstreams", UPSTREAM | {"identity_id": identity["id"]})


async def run(api: Api, wish: dict[str, Any]) -> dict[str, Any]:
    answer = await api.call("POST", "/connection_tests", json=wish)
    assert answer.status_code == 202, answer.text
    return await over(api, answer.json()["id"])


async def over(api: Api, test_id: str) -> dict[str, Any]:
    found: dict[str, Any] = {}

    async def is_over() -> bool:
        found.update((await api.call("GET", f"/connection_tests/{test_id}")).json())
        return bool(found["state"] != "running")

    await eventually(is_over)
    return found


async def test_a_saved_upstream_is_tested_with_its_own_probe(api: Api, broker: FakeBroker) -> None:
    upstream = await saved(api)
    test = await run(api, {"upstream_id": upstream["id"]})
    assert (test["state"], test["reason"], test["upstream_id"]) == ("passed", "", upstream["id"])
    assert [stage["stage"] for stage in test["stages"]] == [stage.value for stage in ALL]
    order = broker.orders[0]
    assert order.probe is not None
    assert (order.probe.repository, order.probe.reference) == ("team/app", "1")
    assert order.upstream.id == upstream["id"]


async def test_a_draft_reaches_the_broker_sealed_and_is_stored_nowhere(api: Api, broker: FakeBroker) -> None:
    wish = {
        "upstream": {"name": "draft", "kind": "oci", "host": "harbor.example.com"},
        "identity": PASSWORD,
        "probe": "app",
    }
    test = await run(api, wish)
    assert test["state"] == "passed"
    assert test["upstream_id"] is None
    identity = broker.orders[0].identity
    assert identity is not None
    assert "canary-password" not in identity.model_dump_json()
    assert identity.sealed_secrets is not None
    opened = open_sealed(identity.sealed_secrets, api.broker_key, identity.seal_context())
    assert json.loads(opened.reveal()) == {"password": "canary-password"}
    assert (await api.call("GET", "/identities")).json()["items"] == []
    assert (await api.call("GET", "/upstreams")).json()["items"] == []


async def test_a_change_is_tested_before_it_is_saved(api: Api, broker: FakeBroker) -> None:
    upstream = await saved(api)
    wish = {"upstream_id": upstream["id"], "upstream_change": {"repository_prefix": "other"}}
    await run(api, wish)
    assert broker.orders[0].upstream.repository_prefix == "other"
    assert (await api.call("GET", f"/upstreams/{upstream['id']}")).json() == upstream


async def test_a_kept_secret_goes_nowhere_new_in_a_test_either(api: Api, broker: FakeBroker) -> None:
    upstream = await saved(api)
    change = {"usable_for": {"partition": "aws", "accounts": ["999999999999"]}}
    answer = await api.call(
        "POST", "/connection_tests", json={"upstream_id": upstream["id"], "identity_change": change}
    )
    assert (answer.status_code, answer.json()["code"]) == (422, "credential_required")
    elsewhere = ECR_HOST.replace("123456789012", "999999999999")
    answer = await api.call(
        "POST",
        "/connection_tests",
        json={"upstream_id": upstream["id"], "upstream_change": {"host": elsewhere}},
    )
    assert answer.status_code == 422
    assert broker.orders == []


async def test_the_first_failure_is_explained_with_what_to_do_in_the_cloud(
    api: Api, broker: FakeBroker
) -> None:
    upstream = await saved(api)
    broker.failures = {
        Stage.EXCHANGE: {"outcome": "failed", "reason": "permission_denied"},
        Stage.MANIFEST: {"outcome": "skipped", "reason": "earlier_stage_failed"},
    }
    trust = await run(api, {"upstream_id": upstream["id"]})
    assert (trust["state"], trust["reason"]) == ("failed", "permission_denied")
    assert "sts:AssumeRole" in "".join(step["text"] for step in trust["remedy_steps"])
    broker.failures = {
        Stage.MANIFEST: {"outcome": "failed", "reason": "permission_denied", "answer": "hidden"},
    }
    read = await run(api, {"upstream_id": upstream["id"]})
    told = "".join(step["text"] for step in read["remedy_steps"])
    assert "arn:aws:ecr:eu-west-1:123456789012:repository/team/app" in told
    assert "--role-name vreg-pull" in told


async def test_without_an_image_a_test_has_not_passed(api: Api, broker: FakeBroker) -> None:
    upstream = await saved(api)
    broker.failures = {Stage.MANIFEST: {"outcome": "failed", "reason": "probe_missing"}}
    test = await run(api, {"upstream_id": upstream["id"]})
    assert (test["state"], test["reason"]) == ("incomplete", "probe_missing")


async def test_without_a_broker_the_first_stage_says_so(api: Api) -> None:
    await api.bus.come_up()
    upstream = await saved(api)
    test = await run(api, {"upstream_id": upstream["id"]})
    assert (test["state"], test["reason"]) == ("failed", "no_broker")
    assert [stage["outcome"] for stage in test["stages"]] == ["failed"] + ["skipped"] * (len(ALL) - 1)
    assert test["stages"][0]["remedy"]


async def test_a_broker_that_falls_silent_leaves_what_it_told(api: Api, broker: FakeBroker) -> None:
    upstream = await saved(api)

    async def tell(payload: bytes) -> AsyncGenerator[bytes, None]:
        async for answer in broker.tell(payload):
            yield answer
            return

    api.bus.tellers[SUBJECT] = tell
    test = await run(api, {"upstream_id": upstream["id"]})
    assert [stage["outcome"] for stage in test["stages"]][:2] == ["passed", "failed"]


async def test_a_cancelled_test_keeps_its_stages_and_hears_no_more(api: Api, broker: FakeBroker) -> None:
    upstream = await saved(api)
    broker.stops_before = Stage.IDENTITY
    broker.gate.clear()
    started = (await api.call("POST", "/connection_tests", json={"upstream_id": upstream["id"]})).json()
    where = f"/connection_tests/{started['id']}"

    async def has_come_so_far() -> bool:
        return len((await api.call("GET", where)).json()["stages"]) == len(REACH)

    await eventually(has_come_so_far)
    cancelled = (await api.call("POST", f"{where}/cancel")).json()
    broker.gate.set()
    assert (cancelled["state"], len(cancelled["stages"])) == ("cancelled", len(REACH))
    assert (await api.call("POST", f"{where}/cancel")).json() == cancelled


async def test_a_test_whose_process_died_has_ended_for_its_readers(api: Api, broker: FakeBroker) -> None:
    upstream = await saved(api)
    broker.stops_before = Stage.ADDRESS
    broker.gate.clear()
    started = (await api.call("POST", "/connection_tests", json={"upstream_id": upstream["id"]})).json()
    api.clock.advance(300)
    shown = (await api.call("GET", f"/connection_tests/{started['id']}")).json()
    assert (shown["state"], shown["reason"]) == ("failed", "test_timeout")


@pytest.mark.usefixtures("broker")
async def test_tests_are_listed_the_latest_first(api: Api) -> None:
    upstream = await saved(api)
    first = await run(api, {"upstream_id": upstream["id"]})
    api.clock.advance(1)
    draft = await run(api, {"upstream": {"name": "hub", "kind": "oci", "host": "registry-1.docker.io"}})
    page = (await api.call("GET", "/connection_tests?limit=1")).json()
    assert [each["id"] for each in page["items"]] == [draft["id"]]
    rest = (await api.call("GET", f"/connection_tests?limit=1&cursor={page['next_cursor']}")).json()
    assert [each["id"] for each in rest["items"]] == [first["id"]]
    of_one = (await api.call("GET", f"/connection_tests?upstream_id={upstream['id']}")).json()
    assert [each["id"] for each in of_one["items"]] == [first["id"]]


@pytest.mark.usefixtures("broker")
async def test_a_finished_test_can_be_followed_from_its_beginning(api: Api) -> None:
    upstream = await saved(api)
    test = await run(api, {"upstream_id": upstream["id"]})
    answer = await api.call("GET", f"/connection_tests/{test['id']}/events")
    assert answer.headers["content-type"].startswith("text/event-stream")
    lines = [line for line in answer.text.splitlines() if line.startswith("data: ")]
    assert len(lines) == len(ALL) + 1
    assert json.loads(lines[-1].removeprefix("data: ")) == test


@pytest.mark.parametrize(
    "wish",
    [
        {},
        {"upstream_id": "01KAS1G6V5X4T3NQ7R8M2C9B0Z", "upstream": UPSTREAM},
        {"upstream": UPSTREAM, "upstream_change": {"name": "x"}},
        {"upstream": UPSTREAM, "identity": PASSWORD, "identity_change": {"name": "x"}},
        {"upstream_id": "01KAS1G6V5X4T3NQ7R8M2C9B0Z", "probe": "UPPER/case"},
        {"upstream_id": "01KAS1G6V5X4T3NQ7R8M2C9B0Z", "probe": "app:"},
        {"upstream_id": "01KAS1G6V5X4T3NQ7R8M2C9B0Z", "probe": "app@sha256:short"},
        {"upstream_id": "01KAS1G6V5X4T3NQ7R8M2C9B0Z", "probe": "a/../b"},
    ],
)
@pytest.mark.usefixtures("broker")
async def test_a_wish_that_does_not_fit_together_is_refused(api: Api, wish: dict[str, Any]) -> None:
    answer = await api.call("POST", "/connection_tests", json=wish)
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed")


async def test_what_is_not_there_is_not_found(api: Api) -> None:
    absent = "01KAS1G6V5X4T3NQ7R8M2C9B0Z"
    calls: list[Callable[[], Any]] = [
        lambda: api.call("GET", f"/connection_tests/{absent}"),
        lambda: api.call("GET", f"/connection_tests/{absent}/events"),
        lambda: api.call("POST", f"/connection_tests/{absent}/cancel"),
        lambda: api.call("POST", "/connection_tests", json={"upstream_id": absent}),
    ]
    for call in calls:
        assert (await call()).status_code == 404


@pytest.mark.parametrize(
    ("typed", "kept"),
    [("", ""), ("  ", ""), ("/team/app:1/", "team/app:1"), ("app", "app"), ("app@sha256:" + "a" * 64,) * 2],
)
async def test_a_probe_is_kept_as_the_image_it_names(api: Api, typed: str, kept: str) -> None:
    made = await api.create(
        "upstreams", {"name": "hub", "kind": "oci", "host": "registry-1.docker.io", "probe": typed}
    )
    assert made["probe"] == kept
