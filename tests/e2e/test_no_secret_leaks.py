"""Secrets put in through the API are looked for in everything vreg wrote, said or was started with."""

import base64
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import pytest_asyncio

from tests.clouds.images import make_image
from tests.e2e.load import pulls
from tests.e2e.scene import ACCOUNTS, PLACES, Scene, scene
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


def spellings(secret: str) -> dict[str, bytes]:
    """Return how a secret may be spelt; in base64 it depends on what stands before it."""
    raw = secret.encode()
    found = {
        "raw": raw,
        "hex": raw.hex().encode(),
        "HEX": raw.hex().upper().encode(),
        "url": quote(secret, safe="").encode(),
        "reversed": raw[::-1],
    }
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + raw)[shift + 1 if shift else 0 :]
        found[f"base64/{shift}"] = encoded.rstrip(b"=")[:-2]
        found[f"base64url/{shift}"] = found[f"base64/{shift}"].replace(b"+", b"-").replace(b"/", b"_")
    return found


def everything(stage: Scene) -> Iterator[tuple[str, bytes]]:
    """Yield what vreg left on disk, and with what its processes were started."""
    for path in stage.stack.home.rglob("*"):
        if path.is_file():
            yield str(path.relative_to(stage.stack.home)), path.read_bytes()
    for service, pids in stage.stack.services().items():
        for pid in pids:
            for kind in ("cmdline", "environ"):
                yield f"{service} {kind}", Path(f"/proc/{pid}/{kind}").read_bytes()


def hits(stage: Scene, secrets: dict[str, str]) -> list[str]:
    """Name every place that holds a secret in any spelling."""
    forms = [
        (name, form, text) for name, secret in secrets.items() for form, text in spellings(secret).items()
    ]
    return [
        f"{name} ({form}) in {place}"
        for place, content in everything(stage)
        for name, form, text in forms
        if text in content
    ]


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
    assert hits(stage, secrets) == []


async def test_the_sweep_would_find_a_secret(talkative: Scene) -> None:
    """A sweep that cannot find anything proves nothing."""
    planted = talkative.stack.home / "planted"
    for form, text in spellings(CANARY).items():
        planted.write_bytes(os.urandom(64) + text + os.urandom(64))
        assert hits(talkative, {"password": CANARY}), form
    planted.write_bytes(base64.b64encode(b"user:" + CANARY.encode()))
    assert hits(talkative, {"password": CANARY})
    planted.unlink()
