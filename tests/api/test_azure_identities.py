"""Identities and upstreams of Azure as people make them: what is refused at once, and what is accepted."""

from typing import Any

from tests.clouds.azure_scene import make_certificate
from tests.support.api_world import PASSWORD, Api

HOST = "contoso.azurecr.io"
TENANT = "72f988bf-86f1-41af-91ab-2d7cd011db47"
CLIENT = "11112222-bbbb-3333-cccc-4444dddd5555"
UPSTREAM = {"name": "contoso", "kind": "acr", "host": HOST}
WHO = {"tenant_id": TENANT, "client_id": CLIENT}


def identity(method: str, **fields: str) -> dict[str, Any]:
    return {
        "name": method,
        "auth_method": {"method": f"azure.{method}", **fields},
        "usable_for": {"registries": [HOST]},
    }


async def errors(api: Api, body: dict[str, Any]) -> set[tuple[str, str]]:
    """Try to create an identity; return what is objected to."""
    answer = await api.call("POST", "/identities", json=body)
    assert answer.status_code == 422, answer.text
    return {(each["field"], each["code"]) for each in answer.json()["errors"]}


async def test_an_upstream_takes_an_identity_of_azure(api: Api) -> None:
    made = await api.create("identities", identity("client_secret", **WHO, client_secret="canary-4711"))
    assert "canary-4711" not in str(made)
    upstream = await api.create("upstreams", {**UPSTREAM, "identity_id": made["id"]})
    assert upstream["kind"] == "acr"


async def test_an_upstream_takes_a_password_that_is_usable_for_its_login_server(api: Api) -> None:
    made = await api.create("identities", {**PASSWORD, "usable_for": {"hosts": [HOST]}})
    assert await api.create("upstreams", {**UPSTREAM, "identity_id": made["id"]})
    other = {**UPSTREAM, "name": "other", "host": "fabrikam.azurecr.io", "identity_id": made["id"]}
    answer = await api.call("POST", "/upstreams", json=other)
    assert answer.json()["errors"][0]["code"] == "host_not_permitted"


async def test_an_upstream_may_be_anonymous_and_chooses_no_token_endpoint(api: Api) -> None:
    assert await api.create("upstreams", UPSTREAM)
    chosen = {**UPSTREAM, "name": "chosen", "token_realm": "https://evil.example/oauth2/token"}
    answer = await api.call("POST", "/upstreams", json=chosen)
    assert answer.json()["errors"][0]["field"] == "token_realm"


async def test_an_identity_of_another_cloud_is_refused(api: Api) -> None:
    body = identity("client_secret", **WHO, client_secret="canary-4711", cloud="us_gov")
    assert await errors(api, body) == {("auth_method.cloud", "cloud_mismatch")}


async def test_a_certificate_is_checked_before_it_is_kept(api: Api) -> None:
    now = api.clock.now()
    made, other = make_certificate(now=now), make_certificate(now=now)
    fields = {**WHO, "certificate": made.certificate, "private_key": made.private_key}
    kept = await api.create("identities", identity("client_certificate", **fields))
    assert kept["auth_method"]["certificate"] == made.certificate
    assert made.private_key not in str(kept)
    stranger = identity("client_certificate", **{**fields, "private_key": other.private_key})
    answer = await api.call("POST", "/identities", json={**stranger, "name": "stranger"})
    assert answer.status_code == 422
    assert "PRIVATE KEY" not in answer.text
    ended = make_certificate(days=-1, begins_days_ago=9, now=now)
    fields = {**WHO, "certificate": ended.certificate, "private_key": ended.private_key}
    body = {**identity("client_certificate", **fields), "name": "ended"}
    assert await errors(api, body) == {("auth_method.certificate", "certificate_expired")}


async def test_a_managed_identity_needs_the_operator(api: Api) -> None:
    assert await errors(api, identity("managed_identity")) == {
        ("auth_method.method", "ambient_not_permitted")
    }
