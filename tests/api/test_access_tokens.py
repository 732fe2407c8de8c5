from typing import Any

import pytest

from tests.support.api_world import ROOT, Api
from vreg_shared.messages.access import access_id_of
from vreg_shared.secret import Secret


async def test_a_token_is_shown_once_and_proves_itself(any_api: Api) -> None:
    created = await any_api.create("access_tokens", {"name": "ci", "role": "puller"})
    token = Secret(created.pop("token"))
    assert access_id_of(token) == created["id"]
    path = f"/access_tokens/{created['id']}"
    assert (await any_api.call("GET", path)).json() == created
    everything = (await any_api.call("GET", "/access_tokens")).text
    assert token.reveal() not in everything
    record = (await any_api.world.access_tokens.read(created["id"], ROOT)).record()
    assert record.proves(token, any_api.clock.now())
    assert record.secret_sha256 not in everything


async def test_a_token_is_changed_and_revoked(any_api: Api) -> None:
    registry = await any_api.create("virtual_registries", {"slug": "team"})
    created = await any_api.create("access_tokens", {"name": "ci", "role": "puller"})
    change = {
        "name": "ci2",
        "role": "viewer",
        "registry_ids": [registry["id"]],
        "expires_at": "2027-06-01T02:00:00+02:00",
    }
    changed = (await any_api.change("access_tokens", created, change)).json()
    assert changed["registry_ids"] == [registry["id"]]
    assert changed["expires_at"] == "2027-06-01T00:00:00Z"
    widened = (await any_api.change("access_tokens", changed, {"registry_ids": None})).json()
    assert widened["registry_ids"] is None
    nothing = (await any_api.change("access_tokens", widened, {"registry_ids": []})).json()
    assert nothing["registry_ids"] == []
    assert (await any_api.call("DELETE", f"/access_tokens/{created['id']}")).status_code == 204
    assert (await any_api.call("GET", f"/access_tokens/{created['id']}")).status_code == 404


async def test_a_token_limited_to_no_registry_is_not_one_for_all(any_api: Api) -> None:
    created = await any_api.create("access_tokens", {"name": "x", "role": "puller", "registry_ids": []})
    assert created["registry_ids"] == []
    assert (await any_api.world.access_tokens.read(created["id"], ROOT)).record().registry_ids == ()


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"role": "root"}, "role"),
        ({"role": None}, "role"),
        ({"name": ""}, "name"),
        ({"name": "a" * 256}, "name"),
        ({"name": "a\u202eb"}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"name": 7}, "name"),
        ({"registry_ids": ["01KAS1G6V5X4T3NQ7R8M2C9B0Z"]}, "registry_ids"),
        ({"registry_ids": ["nonsense"]}, "registry_ids.0"),
        ({"registry_ids": "01KAS1G6V5X4T3NQ7R8M2C9B0Z"}, "registry_ids"),
        ({"registry_ids": ["01KAS1G6V5X4T3NQ7R8M2C9B0Z"] * 1001}, "registry_ids"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"expires_at": "2027-01-01T00:00:00"}, "expires_at"),
        ({"expires_at": "9999-12-31T23:59:59-12:00"}, "expires_at"),
        ({"expires_at": "0001-01-01T00:00:00+12:00"}, "expires_at"),
        ({"expires_at": "tomorrow"}, "expires_at"),
        ({"expires_at": 10**30}, "expires_at"),
        ({"secret_sha256": "0" * 64}, "secret_sha256"),
        ({"token": "vreg_mine"}, "token"),
        ({"id": "01KAS1G6V5X4T3NQ7R8M2C9B0Z"}, "id"),
    ],
)
async def test_a_wrong_field_is_refused_by_name(api: Api, fields: dict[str, Any], field: str) -> None:
    body = {"name": "ci", "role": "puller", **fields}
    answer = await api.call("POST", "/access_tokens", json=body)
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["field"] == field


async def test_the_last_admin_cannot_lock_everybody_out(any_api: Api) -> None:
    (admin,) = (await any_api.call("GET", "/access_tokens")).json()["items"]
    deleted = await any_api.call("DELETE", f"/access_tokens/{admin['id']}")
    demoted = await any_api.change("access_tokens", admin, {"role": "puller"})
    ended = await any_api.change("access_tokens", admin, {"expires_at": "2027-01-01T00:00:00Z"})
    assert [each.status_code for each in (deleted, demoted, ended)] == [409, 409, 409]
    assert deleted.json()["code"] == "last_admin"
    soon = {"name": "soon", "role": "admin", "expires_at": "2026-11-23T12:00:10Z"}
    await any_api.create("access_tokens", soon)
    any_api.clock.advance(60)
    assert (await any_api.call("DELETE", f"/access_tokens/{admin['id']}")).status_code == 409
    await any_api.create("access_tokens", {"name": "second", "role": "admin"})
    assert (await any_api.call("DELETE", f"/access_tokens/{admin['id']}")).status_code == 204
    assert (await any_api.call("GET", "/access_tokens")).status_code == 401


async def test_the_only_admin_may_be_renamed_and_live_longer(any_api: Api) -> None:
    (first,) = (await any_api.call("GET", "/access_tokens")).json()["items"]
    wish = {"name": "soon", "role": "admin", "expires_at": "2027-01-01T00:00:00Z"}
    admin = await any_api.create("access_tokens", wish)
    any_api.client.headers["Authorization"] = f"Bearer {admin.pop('token')}"
    assert (await any_api.call("DELETE", f"/access_tokens/{first['id']}")).status_code == 204
    longer = {"name": "later", "expires_at": "2028-01-01T00:00:00Z"}
    answer = await any_api.change("access_tokens", admin, longer)
    assert answer.status_code == 200, answer.text
    sooner = await any_api.change("access_tokens", answer.json(), {"expires_at": "2027-01-01T00:00:00Z"})
    assert sooner.json()["code"] == "last_admin"


async def test_the_first_admin_is_made_only_when_there_is_no_token(any_api: Api) -> None:
    assert await any_api.world.access_tokens.bootstrap() is None
