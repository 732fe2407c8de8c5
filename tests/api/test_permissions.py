"""Every route, asked by every role, with and without limits, of what is own, shared, foreign and absent."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import httpx
import pytest
from fastapi.routing import iter_route_contexts

from tests.support.api_world import Api
from vreg_api.app import make_rooms
from vreg_api.authorization import ROUTES

ABSENT: Final = "01KAS1G6V5X4T3NQ7R8M2C9B0Z"
DESCRIPTION: Final = "/api/v1/openapi.json"
"""It says what vreg is and nothing of whose it is: anybody may read it who has a token."""
READ, CREATE, CHANGE, DELETE = "read", "create", "change", "delete"
VERBS: Final = {"GET": READ, "POST": CREATE, "PATCH": CHANGE, "DELETE": DELETE}
PARTS: Final = {
    "trust": READ,
    "rate_limit": READ,
    "imports": CREATE,
    "purge": "purge",
    "rotate": CHANGE,
    "previous_secret": CHANGE,
    "stream": READ,
    "events": READ,
    "cancel": CHANGE,
    "acknowledge": CHANGE,
    "upstreams": READ,
    "virtual_registries": READ,
    "history": READ,
    "export": READ,
}
"""What the parts of a thing come to; a new one must be named here."""

CONFIGURATION: Final = ("identities", "upstreams", "virtual_registries")
AUDIT: Final = ("audit-events", "audit-chain", "pulls")
NOUNS: Final = (*CONFIGURATION, "access_tokens", "provider_catalogue", *AUDIT, "health", "connection_tests")
EDITING: Final = {(verb, noun) for verb in (CREATE, CHANGE, DELETE) for noun in CONFIGURATION}
VIEWING: Final = {(READ, noun) for noun in NOUNS if noun not in AUDIT}
AUDITING: Final = {(READ, noun) for noun in AUDIT}
PURGING: Final = {("purge", "upstreams")}
TRYING: Final = {(CREATE, "connection_tests"), (CHANGE, "connection_tests"), (CHANGE, "health")}
TOKENS: Final = {(verb, "access_tokens") for verb in (CREATE, CHANGE, DELETE)}
MAY: Final[dict[str, set[tuple[str, str]]]] = {
    "admin": VIEWING | AUDITING | EDITING | TRYING | PURGING | TOKENS,
    "editor": VIEWING | EDITING | TRYING | PURGING,
    "viewer": VIEWING,
    "auditor": VIEWING | AUDITING,
    "puller": set(),
}
MAY_WITHIN_LIMITS: Final = (
    (VIEWING - {(READ, "connection_tests")})
    | PURGING
    | TOKENS
    | {(CHANGE, "upstreams"), (CHANGE, "virtual_registries")}
)
ENDLESS: Final = ("/stream", "/health/events")
"""What never ends by itself is not followed here by those who may."""
SHARED_READING: Final = {(READ, "identities"), (READ, "upstreams")}
DONE: Final = {200, 412, 422, 503}
"""Permitted: shown; or stopped by a version that is not, a body that says nothing, or a bus that is down."""


@dataclass(frozen=True)
class Route:
    method: str
    path: str
    verb: str
    noun: str

    @property
    def is_of_one(self) -> bool:
        return "{identifier}" in self.path


def routes(api: Api) -> Iterator[Route]:
    """Every route of the app that needs a permission."""
    for each in iter_route_contexts(make_rooms(api.world).routes):
        if each.path is not None and each.path.startswith("/api/") and each.path != DESCRIPTION:
            assert each.methods is not None
            (method,) = each.methods
            noun, *rest = each.path.removeprefix("/api/v1/").split("/")
            part = [name for name in rest if name not in {"{identifier}", "self"}]
            yield Route(method, each.path, PARTS[part[-1]] if part else VERBS[method], noun)


def outcome(route: Route, role: str, *, is_limited: bool, relation: str) -> str:
    """What must come of it."""
    wanted = (route.verb, route.noun)
    if route.path.endswith("/self"):
        return "done"
    if wanted not in MAY[role] or (is_limited and wanted not in MAY_WITHIN_LIMITS):
        return "forbidden"
    if not route.is_of_one:
        return "done"
    if relation == "absent":
        return "absent"
    if not is_limited or relation == "own" or (relation == "shared" and wanted in SHARED_READING):
        return "done"
    is_seen = relation == "shared" and (READ, route.noun) in SHARED_READING
    return "forbidden" if is_seen else "absent"


async def populated(api: Api) -> dict[str, dict[str, str]]:
    """Make of every noun one for each relation to the registry `mine`; return noun, relation and id."""
    made: dict[str, dict[str, str]] = {noun: {} for noun in NOUNS}
    for relation in ("own", "shared", "foreign", "loose"):
        wish: dict[str, Any] = {
            "name": relation,
            "auth_method": {"method": "basic.password", "username": "x", "password": "y"},
            "usable_for": {"hosts": ["harbor.example.com"]},
        }
        identity = await api.create("identities", wish)
        wish = {"name": relation, "kind": "oci", "host": "harbor.example.com", "identity_id": identity["id"]}
        made["identities"][relation] = identity["id"]
        made["upstreams"][relation] = (await api.create("upstreams", wish))["id"]
    used = {"mine": ("own", "shared"), "others": ("shared", "foreign")}
    for slug, relations in used.items():
        members = [{"upstream_id": made["upstreams"][relation]} for relation in relations]
        registry = await api.create("virtual_registries", {"slug": slug, "memberships": members})
        made["virtual_registries"]["own" if slug == "mine" else "foreign"] = registry["id"]
    mine, others = made["virtual_registries"]["own"], made["virtual_registries"]["foreign"]
    for relation, limits in {
        "own": [mine], "shared": [mine, others], "foreign": [others], "loose": None
    }.items():  # fmt: skip
        token = {"name": relation, "role": "viewer", "registry_ids": limits}
        made["access_tokens"][relation] = (await api.create("access_tokens", token))["id"]
    return made


async def test_every_route_that_needs_one_has_a_permission_and_every_permission_a_route(api: Api) -> None:
    found = [(each.method, each.path.removeprefix("/api/v1")) for each in routes(api)]
    assert len(found) == len(set(found))
    assert set(found) == ROUTES.keys()


@pytest.mark.parametrize("is_limited", [False, True], ids=["unlimited", "limited"])
@pytest.mark.parametrize("role", MAY)
async def test_every_route_permits_what_it_must_and_nothing_else(
    api: Api, role: str, *, is_limited: bool
) -> None:
    made = await populated(api)
    mine = made["virtual_registries"]["own"]
    headers = await api.token(role, [mine] if is_limited else None)
    for route in routes(api):
        expected = outcome(route, role, is_limited=is_limited, relation="absent")
        if route.path.endswith(ENDLESS) and expected != "forbidden":
            continue
        gone = await asked(api, route, ABSENT, headers)
        for relation, identifier in {**made[route.noun], "absent": ABSENT}.items():
            answer = await asked(api, route, identifier, headers)
            case = (route.method, route.path, relation, answer.text)
            match outcome(route, role, is_limited=is_limited, relation=relation):
                case "done":
                    assert answer.status_code in DONE, case
                case "forbidden":
                    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), case
                case "absent":
                    assert answer.status_code == 404, case
                    assert answer.text.replace(identifier, ABSENT) == gone.text, case
                    assert answer.headers.keys() == gone.headers.keys(), case


async def asked(api: Api, route: Route, identifier: str, headers: dict[str, str]) -> httpx.Response:
    """Ask for a change that changes nothing: of a version there never was, or with nothing in it."""
    path = route.path.replace("{identifier}", identifier)
    body = {} if route.method in {"POST", "PATCH"} else None
    return await api.client.request(route.method, path, headers={**headers, "If-Match": '"0"'}, json=body)


@pytest.mark.parametrize("role", ["admin", "editor", "viewer", "auditor"])
async def test_lists_show_a_limited_token_what_serves_its_registries_alone(any_api: Api, role: str) -> None:
    made = await populated(any_api)
    headers = await any_api.token(role, [made["virtual_registries"]["own"]])
    seen = {"identities": {"own", "shared"}, "upstreams": {"own", "shared"}, "virtual_registries": {"own"}}
    for noun, relations in seen.items():
        for limit in (1, 100):
            listed, query = set(), f"?limit={limit}"
            while query:
                page = (await any_api.call("GET", f"/{noun}{query}", headers=headers)).json()
                listed |= {item["id"] for item in page["items"]}
                cursor = page["next_cursor"]
                query = f"?limit={limit}&cursor={cursor}" if cursor else ""
            assert listed == {made[noun][relation] for relation in relations}
    tokens = (await any_api.call("GET", "/access_tokens", headers=headers)).json()["items"]
    own = (await any_api.call("GET", "/access_tokens/self", headers=headers)).json()["id"]
    assert {token["id"] for token in tokens} == {made["access_tokens"]["own"], own}


@pytest.mark.parametrize(
    "change",
    [
        {"name": "renamed"},
        {"host": "other.example.com"},
        {"identity_id": None},
        {"repository_prefix": "everything"},
        {"token_realm": "https://harbor.example.com/token"},
    ],
    ids=lambda change: next(iter(change)),
)
async def test_a_limited_editor_tends_an_upstream_and_does_not_repoint_it(
    api: Api, change: dict[str, Any]
) -> None:
    made = await populated(api)
    headers = await api.token("editor", [made["virtual_registries"]["own"]])
    path = f"/upstreams/{made['upstreams']['own']}"
    refused = await api.call("PATCH", path, json=change, headers={**headers, "If-Match": "*"})
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    assert next(iter(change)) in refused.json()["detail"]
    tended = {"description": "ours", "tag_validity_seconds": 60, "stale_for": [], "enabled": False}
    done = await api.call("PATCH", path, json=tended, headers={**headers, "If-Match": "*"})
    assert done.status_code == 200
    assert done.json().items() >= tended.items()


async def test_a_limited_editor_orders_the_upstreams_it_sees_and_others_are_unknown(any_api: Api) -> None:
    made = await populated(any_api)
    headers = {**await any_api.token("editor", [made["virtual_registries"]["own"]]), "If-Match": "*"}
    path = f"/virtual_registries/{made['virtual_registries']['own']}"
    upstreams = made["upstreams"]
    swapped = [{"upstream_id": upstreams["shared"]}, {"upstream_id": upstreams["own"], "deny": ["x/*"]}]
    assert (
        await any_api.call("PATCH", path, json={"memberships": swapped}, headers=headers)
    ).status_code == 200
    answers = [
        await any_api.call("PATCH", path, json={"memberships": [{"upstream_id": each}]}, headers=headers)
        for each in (upstreams["foreign"], upstreams["loose"], ABSENT)
    ]
    assert [each.status_code for each in answers] == [422, 422, 422]
    assert len({each.text for each in answers}) == 1
    for change in ({"slug": "theirs"}, {"slug": "others"}, {"anonymous_pull": True}):
        assert (await any_api.call("PATCH", path, json=change, headers=headers)).status_code == 403


MACHINES: Final = [
    ({"method": "aws.instance"}, {"partition": "aws", "accounts": ["123456789012"]}),
    (
        {
            "method": "aws.web_identity",
            "role_arn": "arn:aws:iam::123456789012:role/pull",
            "token_file": "irsa",
        },
        {"partition": "aws", "accounts": ["123456789012"]},
    ),
]


@pytest.mark.parametrize(("auth_method", "usable_for"), MACHINES, ids=["ambient", "token file"])
async def test_an_editor_does_not_lend_the_machine_to_an_identity(
    lending_api: Api, auth_method: dict[str, str], usable_for: dict[str, Any]
) -> None:
    api = lending_api
    editor = {**await api.token("editor"), "If-Match": "*"}
    wish = {"name": "machine", "auth_method": auth_method, "usable_for": usable_for}
    keyless = {"method": "aws.web_identity", "role_arn": "arn:aws:iam::123456789012:role/pull"}
    plain = {"name": "plain", "auth_method": keyless, "usable_for": usable_for}
    refused = await api.call("POST", "/identities", json=wish, headers=editor)
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")

    own = (await api.call("POST", "/identities", json=plain, headers=editor)).json()
    change = {"auth_method": auth_method}
    turned = await api.call("PATCH", f"/identities/{own['id']}", json=change, headers=editor)
    assert turned.status_code == 403

    machine = await api.create("identities", wish)
    path = f"/identities/{machine['id']}"
    assert (await api.call("GET", path, headers=editor)).status_code == 200
    renamed = await api.call("PATCH", path, json={"name": "x"}, headers=editor)
    deleted = await api.call("DELETE", path, headers=editor)
    assert (renamed.status_code, deleted.status_code) == (403, 403)


async def test_a_route_without_a_permission_is_for_unlimited_admins_alone(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = await api.create("virtual_registries", {"slug": "mine"})
    callers = [
        await api.token("editor"),
        await api.token("admin", [registry["id"]]),
        await api.token("admin"),
    ]
    monkeypatch.setattr("vreg_api.authorization.ROUTES", {})
    answers = [await api.call("GET", "/upstreams", headers=headers) for headers in callers]
    assert [each.status_code for each in answers] == [403, 403, 200]
