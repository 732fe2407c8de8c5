import asyncio
import re
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from fastapi.routing import iter_route_contexts
from starlette.types import Message

from tests.support.api_world import Api
from vreg_api.app import create_app, make_rooms
from vreg_api.authentication import LOOK_AGAIN_SECONDS
from vreg_shared.failure_limit import FREE

NOTHING = "01KAS1G6V5X4T3NQ7R8M2C9B0Z"
NOBODY = f"vreg_{NOTHING}_" + "A" * 43


async def test_every_route_refuses_whoever_shows_nothing(api: Api) -> None:
    api.client.headers.pop("Authorization")
    routes = [(each.path or "", each.methods) for each in iter_route_contexts(make_rooms(api.world).routes)]
    guarded = [(method, path) for path, methods in routes for method in methods or () if "/api/" in path]
    assert len(guarded) >= 28
    for method, path in guarded:
        anonymous = await api.client.request(method, path.replace("{identifier}", NOTHING))
        assert anonymous.status_code == 401, (method, path)
        assert anonymous.headers["WWW-Authenticate"] == 'Bearer realm="vreg"'
        assert anonymous.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        "Basic dXNlcjpwYXNz",
        "Bearer x",
        f"Bearer {NOBODY}",
        f"Bearer  {NOBODY} x",
        f"Token {NOBODY}",
        "Bearer " + "a" * 10000,
        f"Bearer {NOBODY}é",
        "Bearer \x01",
    ],
)
async def test_a_header_that_proves_nothing_is_refused(api: Api, header: str) -> None:
    sent = {"Authorization": header.encode("latin-1")}
    answer = await api.client.get("/api/v1/identities", headers=sent)  # type: ignore[arg-type]
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith('Bearer realm="vreg"')


async def test_two_authorization_headers_are_refused(api: Api) -> None:
    value = f"Bearer {api.admin_token}"
    api.client.headers.pop("Authorization")
    both = [("Authorization", value), ("Authorization", value)]
    assert (await api.client.get("/api/v1/identities", headers=both)).status_code == 401


async def test_a_known_id_with_another_secret_is_refused_as_an_unknown_one_is(api: Api) -> None:
    identifier = api.admin_token.split("_")[1]
    wrong = f"vreg_{identifier}_" + "A" * 43
    answers = [
        await api.client.get("/api/v1/identities", headers={"Authorization": f"Bearer {token}"})
        for token in (wrong, NOBODY)
    ]
    assert [each.status_code for each in answers] == [401, 401]
    assert answers[0].content == answers[1].content


async def test_an_expired_token_is_refused(any_api: Api) -> None:
    body = {"name": "soon", "role": "admin", "expires_at": "2026-11-23T12:00:10Z"}
    token = (await any_api.create("access_tokens", body))["token"]
    header = {"Authorization": f"Bearer {token}"}
    assert (await any_api.call("GET", "/identities", headers=header)).status_code == 200
    any_api.clock.advance(10)
    refused = await any_api.call("GET", "/identities", headers=header)
    assert refused.status_code == 401
    assert 'error="invalid_token"' in refused.headers["WWW-Authenticate"]


async def test_a_revoked_token_is_refused_at_once(any_api: Api) -> None:
    created = await any_api.create("access_tokens", {"name": "x", "role": "admin"})
    header = {"Authorization": f"Bearer {created['token']}"}
    assert (await any_api.call("GET", "/identities", headers=header)).status_code == 200
    await any_api.call("DELETE", f"/access_tokens/{created['id']}")
    assert (await any_api.call("GET", "/identities", headers=header)).status_code == 401


async def test_nothing_of_a_body_is_read_before_the_token(api: Api) -> None:
    answer = await api.client.post("/api/v1/identities", headers={"Authorization": "x"}, content=b"{" * 10)
    assert answer.status_code == 401


async def test_whether_the_process_lives_is_nobodys_secret(api: Api) -> None:
    api.client.headers.pop("Authorization")
    assert (await api.client.get("/livez")).json() == {"status": "alive"}
    ready = await api.client.get("/readyz")
    assert ready.status_code == 200
    assert ready.json()["bus"] == "disconnected"


async def attempt(api: Api, token: str) -> httpx.Response:
    return await api.client.get("/api/v1/access_tokens/self", headers={"Authorization": f"Bearer {token}"})


async def test_whoever_guesses_on_is_told_to_wait_longer_each_time(api: Api) -> None:
    assert {(await attempt(api, NOBODY)).status_code for _ in range(FREE)} == {401}
    waits = []
    for _ in range(4):
        refused = await attempt(api, NOBODY)
        assert (refused.status_code, refused.json()["code"]) == (429, "too_many_failures")
        waits.append(int(refused.headers["Retry-After"]))
        api.clock.advance(waits[-1])
        assert (await attempt(api, NOBODY)).status_code == 401
    assert waits == [1, 2, 4, 8]


async def test_nobody_is_locked_out_by_what_others_try_from_his_address_or_with_his_id(api: Api) -> None:
    identifier = api.admin_token.split("_")[1]
    wrong = f"vreg_{identifier}_" + "A" * 43
    for _ in range(FREE * 3):
        await attempt(api, wrong)
    assert (await attempt(api, wrong)).status_code == 429
    assert (await attempt(api, api.admin_token)).status_code == 200


async def test_waiting_tells_nothing_of_whether_an_id_is_known(api: Api) -> None:
    wrong = [f"vreg_{identifier}_" + "A" * 43 for identifier in (api.admin_token.split("_")[1], NOTHING)]
    for _ in range(FREE):
        await attempt(api, "vreg_misspelt")
    answers = [await attempt(api, token) for token in wrong]
    assert [each.status_code for each in answers] == [429, 429]
    assert answers[0].content == answers[1].content
    assert answers[0].headers == answers[1].headers


async def test_one_who_showed_nothing_guessed_nothing(api: Api) -> None:
    api.client.headers.pop("Authorization")
    answers = [await api.client.get("/api/v1/identities") for _ in range(FREE * 2)]
    assert {each.status_code for each in answers} == {401}


async def test_an_unknown_id_is_looked_for_as_long_as_a_known_one(any_api: Api) -> None:
    registry = await any_api.create("virtual_registries", {"slug": "team"})
    limited = await any_api.create(
        "access_tokens", {"name": "x", "role": "puller", "registry_ids": [registry["id"]]}
    )
    statements: list[str] = []

    def count(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        statements.extend(re.findall(r"FROM (\w+)", statement)[:1])

    sa.event.listen(sa.Engine, "before_cursor_execute", count)
    try:
        asked = []
        for identifier in (any_api.admin_token.split("_")[1], limited["id"], NOTHING):
            statements.clear()
            assert (await attempt(any_api, f"vreg_{identifier}_" + "A" * 43)).status_code == 401
            asked.append(list(statements))
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", count)
    assert asked[0] == asked[1] == asked[2]
    assert asked[0] == ["access_tokens", "access_registries"]


async def test_a_stream_ends_when_its_token_is_taken_away(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vreg_api.audit.service.LOOK_SECONDS", 0.01)
    made = await api.create("access_tokens", {"name": "siem", "role": "auditor"})
    began, pieces = asyncio.Event(), asyncio.Queue[dict[str, Any]]()
    pieces.put_nowait({"type": "http.request", "body": b"", "more_body": False})

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            began.set()

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/api/v1/audit-events/stream",
        "raw_path": b"/api/v1/audit-events/stream",
        "query_string": b"",
        "root_path": "",
        "headers": [(b"authorization", f"Bearer {made['token']}".encode())],
    }
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        stream = group.create_task(create_app(api.world)(scope, pieces.get, send))
        await began.wait()
        await api.call("DELETE", f"/access_tokens/{made['id']}")
        api.clock.advance(LOOK_AGAIN_SECONDS + 1)
        await stream
