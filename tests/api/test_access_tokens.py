import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest

from tests.support.api_world import ROOT, Api
from vreg_api.store.database import DatabaseUnavailableError
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
        ({"name": "a\u200bb"}, "name"),
        ({"name": "a\u2060b"}, "name"),
        ({"name": "a\ufeffb"}, "name"),
        ({"name": "a\U000e0041b"}, "name"),
        ({"name": "a\u0085b"}, "name"),
        ({"name": "\u2028"}, "name"),
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


def shown(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def works(api: Api, token: str) -> bool:
    answer = await api.call("GET", "/access_tokens/self", headers=shown(token))
    assert answer.status_code in {200, 401}
    return answer.status_code == 200


async def test_a_rotated_token_has_a_new_secret_and_the_old_one_for_the_overlap(any_api: Api) -> None:
    created = await any_api.create("access_tokens", {"name": "ci", "role": "viewer"})
    path = f"/access_tokens/{created['id']}"
    rotated = (await any_api.call("POST", f"{path}/rotate", json={"overlap_hours": 2})).json()
    assert rotated["previous_until"] == "2026-11-23T14:00:00Z"
    assert rotated["version"] == 2
    assert rotated["token"].startswith(created["prefix"])
    assert [await works(any_api, each["token"]) for each in (created, rotated)] == [True, True]
    record = (await any_api.world.access_tokens.read(created["id"], ROOT)).record()
    assert all(record.proves(Secret(each["token"]), any_api.clock.now()) for each in (created, rotated))
    any_api.clock.advance(2 * 3600)
    assert [await works(any_api, each["token"]) for each in (created, rotated)] == [False, True]


async def test_a_rotation_without_overlap_ends_the_old_secret_at_once(any_api: Api) -> None:
    created = await any_api.create("access_tokens", {"name": "ci", "role": "viewer"})
    path = f"/access_tokens/{created['id']}"
    first = (await any_api.call("POST", f"{path}/rotate", json={"overlap_hours": 168})).json()
    second = (await any_api.call("POST", f"{path}/rotate", json={})).json()
    tokens = [each["token"] for each in (created, first, second)]
    assert [await works(any_api, token) for token in tokens] == [False, False, True]
    assert second["previous_until"] is None


async def test_the_old_secret_is_revoked_before_its_time_and_the_whole_token_with_both(any_api: Api) -> None:
    created = await any_api.create("access_tokens", {"name": "ci", "role": "viewer"})
    path = f"/access_tokens/{created['id']}"
    first = (await any_api.call("POST", f"{path}/rotate", json={"overlap_hours": 1})).json()
    assert (await any_api.call("DELETE", f"{path}/previous_secret")).status_code == 204
    assert [await works(any_api, each["token"]) for each in (created, first)] == [False, True]
    assert (await any_api.call("DELETE", f"{path}/previous_secret")).status_code == 204  # nothing is left
    second = (await any_api.call("POST", f"{path}/rotate", json={"overlap_hours": 1})).json()
    await any_api.call("DELETE", path)
    assert [await works(any_api, each["token"]) for each in (first, second)] == [False, False]


@pytest.mark.parametrize("hours", [-1, 169, 1.5, "1", True, None])
async def test_an_overlap_is_some_hours_within_a_week(api: Api, hours: object) -> None:
    created = await api.create("access_tokens", {"name": "ci", "role": "puller"})
    answer = await api.call("POST", f"/access_tokens/{created['id']}/rotate", json={"overlap_hours": hours})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "overlap_hours")


async def test_a_rotation_of_another_version_changes_nothing(any_api: Api) -> None:
    created = await any_api.create("access_tokens", {"name": "ci", "role": "viewer"})
    path = f"/access_tokens/{created['id']}/rotate"
    answer = await any_api.call("POST", path, json={}, headers={"If-Match": '"7"'})
    assert answer.status_code == 412
    assert await works(any_api, created["token"])


@pytest.mark.parametrize("role", ["admin", "editor", "viewer", "auditor", "puller"])
async def test_everybody_reads_who_he_is_and_what_he_may(api: Api, role: str) -> None:
    registry = await api.create("virtual_registries", {"slug": "team"})
    wish = {"name": "me", "role": role, "registry_ids": [registry["id"]]}
    created = await api.create("access_tokens", wish)
    told = (await api.call("GET", "/access_tokens/self", headers=shown(created["token"]))).json()
    permissions = [(each["action"], each["noun"]) for each in told.pop("permissions")]
    token = created.pop("token")
    assert told == created
    assert token not in str(told)
    assert ("read", "own access token") in permissions
    assert (("pull", "virtual registry") in permissions) is (role != "auditor")
    assert (("change", "virtual registry") in permissions) is (role in {"admin", "editor"})
    assert ("create", "upstream") not in permissions


async def test_when_a_token_was_last_used_is_written_to_the_minute_and_is_no_change(any_api: Api) -> None:
    created = await any_api.create("access_tokens", {"name": "ci", "role": "puller"})
    path = f"/access_tokens/{created['id']}"
    assert created["last_used_at"] is None
    any_api.clock.advance(90)
    assert await works(any_api, created["token"])
    assert (await any_api.call("GET", path)).json()["last_used_at"] is None
    await any_api.world.last_uses.write()
    read = (await any_api.call("GET", path)).json()
    assert (read["last_used_at"], read["version"]) == ("2026-11-23T12:01:00Z", 1)
    changed = (await any_api.change("access_tokens", created, {"name": "other"})).json()
    assert changed["last_used_at"] == "2026-11-23T12:01:00Z"


async def test_a_use_that_another_process_wrote_later_stays_and_a_gone_token_does_no_harm(
    any_api: Api,
) -> None:
    created = await any_api.create("access_tokens", {"name": "ci", "role": "puller"})
    gone = await any_api.create("access_tokens", {"name": "gone", "role": "puller"})
    await works(any_api, created["token"])
    await works(any_api, gone["token"])
    await any_api.call("DELETE", f"/access_tokens/{gone['id']}")
    later = any_api.clock.now() + timedelta(minutes=5)
    async with any_api.database.write() as tx:
        await any_api.world.access_tokens.store.write_last_uses(tx, {created["id"]: later})
    await any_api.world.last_uses.write()
    read = (await any_api.call("GET", f"/access_tokens/{created['id']}")).json()
    assert read["last_used_at"] == "2026-11-23T12:05:00Z"


async def test_nobody_gives_a_token_more_than_he_has(any_api: Api) -> None:
    mine, others = [
        (await any_api.create("virtual_registries", {"slug": slug}))["id"] for slug in ("mine", "others")
    ]
    limited = await any_api.token("admin", [mine])

    async def wish(role: str, registry_ids: list[str] | None) -> httpx.Response:
        body = {"name": "x", "role": role, "registry_ids": registry_ids}
        return await any_api.call("POST", "/access_tokens", json=body, headers=limited)

    foreign, absent = (
        await wish("puller", [mine, others]),
        await wish("puller", ["01KAS1G6V5X4T3NQ7R8M2C9B0Z"]),
    )
    assert (foreign.status_code, absent.status_code) == (422, 422)
    assert foreign.text.replace(others, "01KAS1G6V5X4T3NQ7R8M2C9B0Z") == absent.text
    assert (await wish("puller", None)).json()["code"] == "forbidden"
    made = await wish("admin", [mine])
    assert made.status_code == 201
    match = {**limited, "If-Match": "*"}
    path = f"/access_tokens/{made.json()['id']}"
    widened = await any_api.call("PATCH", path, json={"registry_ids": None}, headers=match)
    moved = await any_api.call("PATCH", path, json={"registry_ids": [others]}, headers=match)
    assert (widened.status_code, moved.status_code) == (403, 422)
    (own,) = [(await any_api.call("GET", "/access_tokens/self", headers=limited)).json()["id"]]
    path = f"/access_tokens/{own}"
    assert (await any_api.call("PATCH", path, json={"registry_ids": None}, headers=match)).status_code == 403


async def test_an_admin_with_limits_is_nobody_who_could_let_the_others_in_again(any_api: Api) -> None:
    registry = await any_api.create("virtual_registries", {"slug": "mine"})
    await any_api.token("admin", [registry["id"]])
    (admin,) = [
        each
        for each in (await any_api.call("GET", "/access_tokens")).json()["items"]
        if each["name"] == "bootstrap"
    ]
    deleted = await any_api.call("DELETE", f"/access_tokens/{admin['id']}")
    limited = await any_api.change("access_tokens", admin, {"registry_ids": [registry["id"]]})
    assert [each.json()["code"] for each in (deleted, limited)] == ["last_admin", "last_admin"]


async def test_what_was_noted_of_uses_is_written_when_the_api_ends(api: Api) -> None:
    async with asyncio.TaskGroup() as group:
        running = group.create_task(api.world.last_uses.run())
        assert await works(api, api.admin_token)
        running.cancel()
    (admin,) = (await api.call("GET", "/access_tokens")).json()["items"]
    assert admin["last_used_at"] == "2026-11-23T12:00:00Z"


class Down:
    """A database that does not answer."""

    @asynccontextmanager
    async def write(self, *, is_news: bool = True) -> AsyncIterator[None]:
        del is_news
        raise DatabaseUnavailableError("it is down")
        yield


async def test_a_use_that_cannot_be_written_now_is_written_later(api: Api) -> None:
    assert await works(api, api.admin_token)
    meanwhile: Any = Down()
    await replace(api.world.last_uses, database=meanwhile).write()
    await api.world.last_uses.write()
    (admin,) = (await api.call("GET", "/access_tokens")).json()["items"]
    assert admin["last_used_at"] == "2026-11-23T12:00:00Z"
