"""No exchange with a cloud is missing from the archive or twice in it, whichever part of vreg is killed.

VREG_TEST_FULL=1 kills fifty times.
"""

import os
import random
import signal
from collections import Counter
from typing import Any

import pytest

from tests.e2e.scene import Scene
from tests.support.audit_document import deviations
from tests.support.wait import eventually
from vreg_shared.messages.audit import AuditEvent

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(2400 if os.environ.get("VREG_TEST_FULL") == "1" else 300),
]

KILLS = 50 if os.environ.get("VREG_TEST_FULL") == "1" else 4
VICTIMS = ("vreg_token_broker", "nats-server", "vreg_api")
SEED = 20260101
PATIENCE = 120.0


def exchanges(stage: Scene) -> int:
    """How many tokens the emulated cloud gave."""
    return stage.clouds.log.count(operation="GetAuthorizationToken", status="200")


async def killed(stage: Scene, service: str) -> None:
    """Kill a service as the kernel would, and wait until `vreg up` has another."""
    victims = set(stage.stack.services().get(service, ()))
    for pid in victims:
        os.kill(pid, signal.SIGKILL)
    await eventually(lambda: set(stage.stack.services().get(service, ())) - victims, deadline=PATIENCE)
    await eventually(stage.stack.is_ready, deadline=PATIENCE)


async def archived(stage: Scene) -> list[dict[str, Any]]:
    """Return every event of a broker that the archive has."""
    found: list[dict[str, Any]] = []
    query = "/audit-events?writer=token-broker&order=oldest&limit=1000"
    cursor = ""
    while True:
        page = (await stage.stack.call("GET", query + cursor)).json()
        found += [each["event"] for each in page["items"]]
        if page["next_cursor"] is None:
            return found
        cursor = f"&cursor={page['next_cursor']}"


async def test_every_exchange_is_archived_once_through_kills_of_broker_bus_and_api(stage: Scene) -> None:
    chance = random.Random(SEED)  # noqa: S311 - which part dies is no secret
    stage.clouds.aws.set_token_life(4.0)
    await killed(stage, "vreg_token_broker")  # begin with such tokens
    deaths = [VICTIMS[0], *(chance.choice(VICTIMS) for _ in range(KILLS - 1))]
    for victim in deaths:
        before = exchanges(stage)
        await eventually(lambda known=before: exchanges(stage) > known, deadline=PATIENCE)
        await killed(stage, victim)
    stage.clouds.aws.set_token_life(12 * 3600.0)

    async def all_is_archived() -> bool:
        known = {each["id"] for each in await archived(stage)}
        journal = stage.stack.journalled()
        types = Counter(each["type"] for each in journal)
        is_quiet = types["vreg.exchange.intent"] == types["vreg.exchange.outcome"]
        return is_quiet and {each["id"] for each in journal} <= known

    await eventually(all_is_archived, deadline=PATIENCE)
    events = await archived(stage)
    assert max(Counter(each["id"] for each in events).values()) == 1
    intents = Counter(_exchange(each) for each in events if each["type"] == "vreg.exchange.intent")
    outcomes = Counter(_exchange(each) for each in events if each["type"] == "vreg.exchange.outcome")
    assert set(intents.values()) == set(outcomes.values()) == {1}
    assert intents.keys() - outcomes.keys() == set() == outcomes.keys() - intents.keys()
    verdicts = Counter(each["data"]["outcome"] for each in events if each["type"] == "vreg.exchange.outcome")
    aws = exchanges(stage)
    assert verdicts["issued"] - _passwords(events) <= aws <= verdicts["issued"] + verdicts["unknown"]
    report = (await stage.stack.call("GET", "/audit-chain?whole=true")).json()
    assert (report["flaws"], report["gaps"], report["rejected"]) == ([], [], 0)
    assert report["is_intact"]
    assert [flaw for each in events for flaw in deviations(AuditEvent.model_validate(each))] == []


def _exchange(event: dict[str, Any]) -> str:
    return str(event["data"]["exchange_id"])


def _passwords(events: list[dict[str, Any]]) -> int:
    """How many credentials were issued without a cloud."""
    return sum(
        1
        for each in events
        if each["type"] == "vreg.exchange.outcome"
        and each["data"]["outcome"] == "issued"
        and each["data"]["provider"] == "basic"
    )
