import asyncio
import json
from itertools import product
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.support.api_world import ASSUME_ROLE, PASSWORD, Api
from vreg_shared.catalogue import catalogue
from vreg_shared.provider import MethodExample

NOUNS = ["identities", "upstreams", "virtual_registries", "access_tokens"]
ABSENT = "01KAS1G6V5X4T3NQ7R8M2C9B0Z"
EXAMPLES = [example for provider in catalogue().providers for example in provider.examples]
JSON = {"Content-Type": "application/json"}


def is_problem(answer: Any) -> bool:  # noqa: ANN401 - httpx.Response
    """Whether it is a 4xx in the one shape there is, saying nothing empty."""
    problem = answer.json()
    return (
        400 <= answer.status_code < 500
        and answer.headers["Content-Type"] == "application/problem+json"
        and problem["status"] == answer.status_code
        and problem["type"] == f"urn:vreg:problem:{problem['code']}"
        and bool(problem["title"] and problem["detail"])
    )


BODIES: dict[str, tuple[bytes, int]] = {
    "nothing": (b"", 422),
    "half": (b'{"name": ', 400),
    "a comma too many": (b'{"name": "x",}', 400),
    "not utf-8": (b'{"name": "\xff"}', 400),
    "utf-16": ('{"name": "x"}'.encode("utf-16"), 400),
    "a byte order mark": (b'\xef\xbb\xbf{"name": "x"}', 400),
    "half a surrogate": (b'{"name": "\\ud800"}', 400),
    "not a number": (b'{"name": NaN}', 400),
    "infinity": (b'{"name": -Infinity}', 400),
    "more digits than python reads": (b'{"name": ' + b"1" * 5000 + b"}", 400),
    "a huge number": (b'{"name": ' + b"1" * 400 + b"}", 422),
    "a huge exponent": (b'{"name": 1e999}', 422),
    "deep lists": (b"[" * 100_000, 400),
    "deep objects": (b'{"a":' * 100_000, 400),
    "two values": (b"{} {}", 400),
    "a list": (b"[]", 422),
    "a text": (b'"x"', 422),
    "a number": (b"7", 422),
    "null": (b"null", 422),
    "nothing in it": (b"{}", 422),
    "nul": (b'{"name": "a\\u0000b"}', 422),
    "nul in a key": (b'{"a\\u0000b": 1}', 422),
    "an unknown field": (b'{"surprise": 1}', 422),
    "too large": (b'{"name": "' + b"a" * (1024 * 1024) + b'"}', 413),
}


@pytest.mark.parametrize("name", BODIES)
async def test_a_body_that_is_none_is_a_problem_of_the_sender(api: Api, name: str) -> None:
    for noun in NOUNS:
        await refuses_body(api, noun, *BODIES[name])


async def refuses_body(api: Api, noun: str, body: bytes, status: int) -> None:
    answer = await api.client.post(f"/api/v1/{noun}", content=body, headers=JSON)
    assert answer.status_code == status, answer.text
    assert is_problem(answer)
    change = await api.client.patch(
        f"/api/v1/{noun}/{ABSENT}", content=body, headers={**JSON, "If-Match": "*"}
    )
    assert is_problem(change)


async def test_a_body_without_length_is_cut_off_at_the_limit(api: Api) -> None:
    async def endless() -> Any:  # noqa: ANN401 - a generator
        yield b'{"name": "'
        for _ in range(100):
            yield b"a" * 65536

    answer = await api.client.post("/api/v1/identities", content=endless(), headers=JSON)
    assert answer.status_code == 413
    assert is_problem(answer)


async def test_a_body_that_does_not_come_is_not_waited_for(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vreg_api.strict_json.BODY_SECONDS", 0.05)

    async def stuck() -> Any:  # noqa: ANN401 - a generator
        yield b'{"name": "'
        await asyncio.Event().wait()

    answer = await api.client.post("/api/v1/identities", content=stuck(), headers=JSON)
    assert answer.status_code == 408
    assert is_problem(answer)


@pytest.mark.parametrize(
    "media_type", ["", "text/plain", "application/xml", "multipart/form-data", "json", "/"]
)
async def test_only_json_is_read(api: Api, media_type: str) -> None:
    headers = {"Content-Type": media_type}
    answer = await api.client.post("/api/v1/identities", content=b"{}", headers=headers)
    assert answer.status_code == 415
    assert is_problem(answer)


async def test_a_compressed_body_is_refused(api: Api) -> None:
    headers = {**JSON, "Content-Encoding": "gzip"}
    assert (
        await api.client.post("/api/v1/identities", content=b"\x1f\x8b", headers=headers)
    ).status_code == 415


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=-1",
        "limit=1001",
        "limit=2147483648",
        f"limit={'9' * 5000}",
        "limit=x",
        "limit=1.5",
        "limit=",
        "cursor=",
        "cursor=x",
        "cursor=%00",
        "cursor=YWZ0ZXI6",
        "cursor=" + "a" * 5000,
        "name=%00",
        "cursor=%C3%A9",
        "name=" + "a" * 256,
        "cursor=YWZ0ZXI6MDFLQVMxRzZWNVg0VDNOUTdSOE0yQzlCMFo%3D%3D%3D%3D",
    ],
)
async def test_a_page_that_is_none_is_a_problem_of_the_sender(api: Api, query: str) -> None:
    for noun in NOUNS:
        answer = await api.call("GET", f"/{noun}?{query}")
        assert answer.status_code == 422, answer.text
        assert is_problem(answer)
        assert answer.json()["errors"][0]["field"] == query.partition("=")[0]


@pytest.mark.parametrize(
    "identifier",
    [ABSENT, ABSENT.lower(), "x", "..", "%00", "%2e%2e", "1", "a" * 5000, "%F0%9F%92%A9", "%FF", "' OR 1=1"],
)
async def test_what_is_not_there_is_not_found(api: Api, identifier: str) -> None:
    asked: tuple[tuple[str, dict[str, str]], ...] = (
        ("GET", {}),
        ("DELETE", {}),
        ("PATCH", {"If-Match": '"1"'}),
    )
    for noun, (method, headers) in product(NOUNS, asked):
        path = f"/{noun}/{identifier}"
        answer = await api.call(method, path, json={} if method == "PATCH" else None, headers=headers)
        assert answer.status_code in {404, 405}, answer.text
        assert is_problem(answer)


@pytest.mark.parametrize(
    "path", ["/api/v1", "/api/v1/", "/api/v1/nothing", "/api/v2/identities", "/", "/docs"]
)
async def test_an_address_without_a_room_is_a_problem_too(api: Api, path: str) -> None:
    answer = await api.client.get(path)
    assert answer.status_code == 404
    assert is_problem(answer)


async def test_a_method_without_meaning_is_refused_with_what_is_allowed(api: Api) -> None:
    answer = await api.call("PUT", "/identities", json={})
    assert answer.status_code == 405
    assert is_problem(answer)
    assert answer.headers["Allow"]


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (None, 428),
        ("", 400),
        ("1", 400),
        ('"1', 400),
        ("'1'", 400),
        ('"1" "2"', 400),
        ("ÿ", 400),
        ('"2"', 412),
        ('W/"1"', 412),
        ('"01"', 412),
        ('"' + "9" * 5000 + '"', 412),
        ('"x", "2"', 412),
    ],
)
async def test_a_change_says_which_version_it_means(api: Api, header: str | None, status: int) -> None:
    created = await api.create("virtual_registries", {"slug": "team"})
    headers = {**JSON} if header is None else {**JSON, "If-Match": header.encode("latin-1")}
    path = f"/api/v1/virtual_registries/{created['id']}"
    answer = await api.client.patch(path, content=b'{"slug": "x"}', headers=headers)  # type: ignore[arg-type]
    assert answer.status_code == status, answer.text
    assert is_problem(answer)
    if header is not None:
        removed = await api.client.delete(path, headers=headers)  # type: ignore[arg-type]
        assert removed.status_code == status


@pytest.mark.parametrize("header", ['"1"', "*", '"7", "1"', ' "1" , W/"3"'])
async def test_the_version_may_be_one_of_several(api: Api, header: str) -> None:
    created = await api.create("virtual_registries", {"slug": "team"})
    path = f"/virtual_registries/{created['id']}"
    answer = await api.call("PATCH", path, json={"slug": "x"}, headers={"If-Match": header})
    assert answer.status_code == 200


AUTH_METHODS: list[tuple[Any, str]] = [
    (None, "auth_method"),
    ([], "auth_method"),
    ("aws.assume_role", "auth_method"),
    ({}, "auth_method.method"),
    ({"method": None}, "auth_method.method"),
    ({"method": ["aws.assume_role"]}, "auth_method.method"),
    ({"method": "aws.nothing"}, "auth_method.method"),
    ({"method": "aws.assume_role"}, "auth_method.access_key_id"),
    ({"method": "basic.password", "username": "a:b", "password": "x"}, "auth_method.username"),
    ({"method": "basic.password", "username": "a", "password": 7}, "auth_method.password"),
    ({"method": "basic.password", "username": "a", "password": {"x": 1}}, "auth_method.password"),
]


@pytest.mark.parametrize(("method", "field"), AUTH_METHODS, ids=lambda value: json.dumps(value)[:40])
async def test_a_wrong_auth_method_is_refused_at_its_field(api: Api, method: object, field: str) -> None:
    usable_for = {"hosts": ["harbor.example.com"]}
    body = {"name": "x", "auth_method": method, "usable_for": usable_for}
    answer = await api.call("POST", "/identities", json=body)
    assert answer.status_code == 422
    assert is_problem(answer)
    fields = [error["field"] for error in answer.json()["errors"]]
    assert field in fields or fields == ["auth_method.method"], answer.text


@pytest.mark.parametrize(
    ("usable_for", "field"),
    [
        (None, "usable_for"),
        ({"accounts": None}, "usable_for.accounts"),
        ({"accounts": [], "partition": "aws-cn"}, "usable_for"),
        ({"accounts": ["1"]}, "usable_for.accounts.0"),
        ({"accounts": ["123456789012"], "partition": "moon"}, "usable_for.partition"),
        ({"accounts": ["123456789012"], "hosts": ["evil.example"]}, "usable_for.hosts"),
        ({"accounts": ["123456789012"] * 1001}, "usable_for.accounts"),
    ],
)
async def test_a_wrong_usable_for_is_refused_at_its_field(api: Api, usable_for: object, field: str) -> None:
    answer = await api.call("POST", "/identities", json={**ASSUME_ROLE, "usable_for": usable_for})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == field
    created = await api.create("identities", ASSUME_ROLE)
    changed = await api.change("identities", created, {"usable_for": usable_for})
    assert changed.status_code == 422
    assert changed.json()["errors"][0]["field"] == field


async def test_a_secret_too_long_for_the_bus_is_refused(api: Api) -> None:
    method = {**ASSUME_ROLE["auth_method"], "secret_access_key": "a" * 400_000}  # type: ignore[dict-item]
    answer = await api.call("POST", "/identities", json={**ASSUME_ROLE, "auth_method": method})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["code"] == "too_large"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
FIELDS = st.sampled_from(
    [
        "name",
        "slug",
        "auth_method",
        "method",
        "usable_for",
        "kind",
        "host",
        "identity_id",
        "memberships",
        "upstream_id",
        "allow",
        "role",
        "registry_ids",
        "expires_at",
        "private_ca",
        "token_realm",
        "enabled",
    ]
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(noun=st.sampled_from(NOUNS), body=st.dictionaries(FIELDS, VALUES) | VALUES)
async def test_no_json_makes_the_api_fail(api: Api, noun: str, body: Any) -> None:  # noqa: ANN401 - JSON
    content = json.dumps(body).encode()
    made = await api.client.post(f"/api/v1/{noun}", content=content, headers=JSON)
    assert made.status_code == 201 or is_problem(made)
    listed = (await api.call("GET", f"/{noun}?limit=1")).json()["items"]
    if listed:
        path = f"/api/v1/{noun}/{listed[0]['id']}"
        changed = await api.client.patch(path, content=content, headers={**JSON, "If-Match": "*"})
        assert changed.status_code == 200 or is_problem(changed)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.method.tag)
def test_no_setting_of_an_auth_method_takes_a_line_of_its_own(example: MethodExample) -> None:
    """They reach the headers of requests to clouds, logs and the audit."""
    method = example.method
    secrets = {name: getattr(method, name) for name in method.secret_fields()}
    whole = method.plain_settings() | {name: each for name, each in secrets.items() if each is not None}
    texts = [name for name, value in method.plain_settings().items() if isinstance(value, str)]
    for name in texts:
        if "-----BEGIN CERTIFICATE-----" in whole[name]:
            continue  # lines are what it is made of
        for line in ("\r\nX-Forged: 1", "\n", "\r", "\0"):
            with pytest.raises(ValidationError):
                type(method).model_validate({**whole, name: whole[name] + line})


async def test_a_name_is_kept_in_the_form_that_equals_what_it_looks_like(api: Api) -> None:
    created = await api.create("identities", {**PASSWORD, "name": "cafe\u0301"})
    assert created["name"] == "caf\u00e9"
    again = await api.call("POST", "/identities", json={**PASSWORD, "name": "CAF\u00c9"})
    assert (again.status_code, again.json()["code"]) == (409, "name_taken")
