"""What was entrusted to us is found nowhere afterwards, in whatever spelling."""

import base64
import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.api_world import ASSUME_ROLE, PASSWORD, Api
from tests.support.logs import captured_logs
from vreg_api.app import create_app
from vreg_shared.secret import Secret

CANARY = "canary/7f3A+secret~of~the~test"


def spellings(secret: str) -> list[bytes]:
    raw = secret.encode()
    return [
        raw,
        base64.b64encode(raw).rstrip(b"="),
        base64.urlsafe_b64encode(raw).rstrip(b"="),
        raw.hex().encode(),
        json.dumps(secret)[1:-1].replace("/", "\\/").encode(),
        raw[:12],
    ]


def holds(haystack: bytes, secret: str) -> bool:
    return any(each in haystack for each in spellings(secret))


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """All that is logged at debug level, by us and by libraries, with nothing held back."""
    with captured_logs("api") as text:
        for name in ("aiosqlite", "asyncio", "sqlalchemy", "sqlalchemy.engine", "sqlalchemy.pool", "alembic"):
            monkeypatch.setattr(logging.getLogger(name), "level", logging.DEBUG)
            logging.getLogger(name).manager._clear_cache()  # type: ignore[attr-defined]  # noqa: SLF001 - levels are cached
        yield text


async def test_a_secret_put_in_is_found_neither_in_the_database_nor_in_answers_nor_in_logs(
    api: Api, tmp_path: Path, log: io.StringIO
) -> None:
    method = {**ASSUME_ROLE["auth_method"], "secret_access_key": CANARY, "session_token": CANARY}  # type: ignore[dict-item]
    body = {**ASSUME_ROLE, "auth_method": method}
    answers: list[Any] = [await api.call("POST", "/identities", json=body)]
    created = answers[0].json()
    renewed = {"method": "aws.assume_role", "secret_access_key": CANARY}
    answers += [
        await api.call("POST", "/identities", json=body),  # the name is taken
        await api.change("identities", created, {"auth_method": renewed}),
        await api.change("identities", created, {"auth_method": renewed}),  # an old version
        await api.call("GET", f"/identities/{created['id']}"),
        await api.call("GET", "/identities"),
    ]
    token = await api.call("POST", "/access_tokens", json={"name": "x", "role": "admin"})
    text = token.json()["token"]
    async with api.relaying():
        await api.bus.come_up()
    assert answers[0].status_code == 201
    for answer in answers:
        assert not holds(answer.content + str(answer.headers).encode(), CANARY)
    assert log.getvalue()
    await api.database.close()
    stored = b"".join(path.read_bytes() for path in tmp_path.glob("vreg.db*"))
    on_bus = b"".join([*api.bus.values.values(), *(raw for _, raw in api.bus.events.values())])
    for place in (log.getvalue().encode(), stored, on_bus):
        assert not holds(place, CANARY)
        assert not holds(place, text.rpartition("_")[2] if text.count("_") == 2 else text.split("_", 2)[2])


WRONG: list[dict[str, Any]] = [
    {"auth_method": {"method": "basic.password", "username": CANARY + ":", "password": CANARY}},
    {"auth_method": {"method": "basic.password", "username": "x", "password": [CANARY]}},
    {"auth_method": {"method": "basic.password", "username": "x", "password": {"x": CANARY}}},
    {"auth_method": {"method": CANARY, "password": CANARY}},
    {"auth_method": CANARY},
    {"auth_method": [CANARY]},
    {"auth_method": {"method": "basic.password", "password": CANARY}},
    {"auth_method": {"method": "basic.password", "username": "x", "password": CANARY, "more": CANARY}},
    {"usable_for": {"hosts": [CANARY]}},
    {"usable_for": CANARY},
    {"usable_for": {"hosts": ["x.example"], "password": CANARY}},
    {"password": CANARY},
    {"name": CANARY + "\x00"},
    {"name": [CANARY]},
    {"auth_method": {"method": "aws.assume_role", "role_arn": CANARY, "secret_access_key": CANARY}},
]


@pytest.mark.parametrize("wrong", WRONG, ids=range(len(WRONG)))
async def test_what_is_wrong_is_not_repeated(api: Api, log: io.StringIO, wrong: dict[str, Any]) -> None:
    created = await api.create("identities", PASSWORD)
    made = await api.call("POST", "/identities", json={**PASSWORD, "name": "other", **wrong})
    changed = await api.change("identities", created, wrong)
    assert made.status_code == 422
    assert changed.status_code in {200, 422}  # a password alone is a fine change
    for answer in (made, changed):
        assert not holds(answer.content, CANARY)
    assert not holds(log.getvalue().encode(), CANARY)


@pytest.mark.parametrize(
    "body",
    [f'{{"password": "{CANARY}"', f'{{"password": "{CANARY}" x}}', f'"{CANARY}', CANARY, f"{{{CANARY}:1}}"],
)
async def test_json_that_breaks_off_is_not_repeated(api: Api, log: io.StringIO, body: str) -> None:
    headers = {"Content-Type": "application/json"}
    answer = await api.client.post("/api/v1/identities", content=body, headers=headers)
    assert answer.status_code in {400, 422}
    assert not holds(answer.content + log.getvalue().encode(), CANARY)


async def test_what_nobody_foresaw_says_nothing_to_the_client_and_no_secret_to_the_log(
    api: Api, log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("broken for the test")

    monkeypatch.setattr("vreg_api.identities.service.Identities._require_free_name", broken)
    method = {"method": "basic.password", "username": "x", "password": CANARY}
    transport = httpx.ASGITransport(create_app(api.world), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, headers=api.client.headers) as client:
        body = {**PASSWORD, "auth_method": method}
        answer = await client.post("http://api/api/v1/identities", json=body)
    assert answer.status_code == 500
    assert answer.json()["code"] == "internal"
    assert "broken for the test" not in answer.text
    assert not holds(log.getvalue().encode(), CANARY)


def test_a_secret_in_the_database_address_is_masked_when_shown() -> None:
    assert "canary" not in repr(Secret("postgresql://u:canary@h/d"))
