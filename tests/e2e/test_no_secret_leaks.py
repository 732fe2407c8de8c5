"""Secrets put in through the API are looked for in everything vreg wrote, said or was started with."""

import base64
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.clouds.images import make_image
from tests.e2e.load import pulls
from tests.e2e.scene import ACCOUNTS, PLACES, Scene, scene
from tests.e2e.sweep import places_of
from tests.support.spellings import spellings
from tests.support.wait import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

CANARY = "c4naryPassw0rd+never/seen=again"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def talkative(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    """A scene that logs all it can, the bus's own trace included."""
    folder: Path = tmp_path_factory.mktemp("talkative")
    async with scene(folder, environment={"VREG_LOG_LEVEL": "debug"}) as running:
        await running.set_up()
        yield running


async def test_a_secret_is_found_nowhere_afterwards(talkative: Scene) -> None:
    stage = talkative
    identity = await stage.admin.identity(
        "canary",
        {"method": "basic.password", "username": "robot", "password": CANARY},
        {"hosts": [stage.protected_registry.host]},
    )
    upstream = await stage.admin.upstream("canary", "oci", stage.protected_registry.host, identity["id"])
    await stage.admin.registry("canary", [upstream])
    refused = await stage.stack.call(
        "POST",
        "/identities",
        json={
            "name": "refused",
            "auth_method": {
                "method": "aws.access_key",
                "access_key_id": "no",
                "secret_access_key": CANARY,
                "x": CANARY,
            },
            "usable_for": {"partition": "aws", "accounts": list(ACCOUNTS)},
        },
    )
    answers = [refused.text, (await stage.stack.call("GET", f"/identities/{identity['id']}")).text]
    answers.append((await stage.stack.call("GET", "/identities")).text)
    for place in PLACES:
        stage.push_to_ecr(place, make_image(f"canary/{place.region}", 1000), "canary")
    async with stage.puller() as puller:

        async def uses_the_wrong_password() -> bool:
            return await puller.status("canary/any/manifests/v1") in {403, 503}

        await eventually(uses_the_wrong_password, deadline=30)
    async with pulls(stage, "canary") as outcome:
        await outcome.more(40)

    secrets = {
        "password": CANARY,
        "real password": stage.protected_registry.password or "",
        "secret access key": stage.keys.user.secret_access_key,
        "role user's key": stage.keys.assuming_user.secret_access_key,
        "admin token": stage.stack.admin_token,
        "client token": stage.token,
    }
    assert refused.status_code == 422
    assert not [answer for answer in answers if CANARY in answer]
    assert places_of(stage.stack, secrets) == []


async def test_the_sweep_would_find_a_secret(talkative: Scene) -> None:
    """A sweep that cannot find anything proves nothing."""
    planted = talkative.stack.home / "planted"
    for form, text in spellings(CANARY).items():
        planted.write_bytes(os.urandom(64) + text + os.urandom(64))
        assert places_of(talkative.stack, {"password": CANARY}), form
    planted.write_bytes(base64.b64encode(b"user:" + CANARY.encode()))
    assert places_of(talkative.stack, {"password": CANARY})
    planted.unlink()
