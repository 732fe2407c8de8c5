import json
from typing import Any

import pytest

from tests.support.api_world import ASSUME_ROLE, ECR_HOST, PASSWORD, Api
from vreg_shared.catalogue import catalogue
from vreg_shared.messages.identity import IdentityRecord
from vreg_shared.provider import MethodExample
from vreg_shared.sealing import SealBrokenError, SealingKey, open_sealed

EXAMPLES = [example for provider in catalogue().providers for example in provider.examples]


async def stored(api: Api, identity_id: str) -> IdentityRecord:
    async with api.database.read() as tx:
        identity = await api.world.identities.store.find(tx, identity_id)
    assert identity is not None
    return identity.record()


async def opened(api: Api, identity_id: str) -> dict[str, str]:
    """Open the secrets as the broker would."""
    record = await stored(api, identity_id)
    assert record.sealed_secrets is not None
    secrets: dict[str, str] = json.loads(
        open_sealed(record.sealed_secrets, api.broker_key, record.seal_context()).reveal()
    )
    return secrets


async def test_an_identity_is_created_read_listed_changed_and_deleted(any_api: Api) -> None:
    created = await any_api.create("identities", ASSUME_ROLE)
    path = f"/identities/{created['id']}"
    read = await any_api.call("GET", path)
    assert read.json() == created
    assert read.headers["ETag"] == '"1"'
    listed = await any_api.call("GET", "/identities")
    assert listed.json() == {"items": [created], "next_cursor": None}
    changed = await any_api.change("identities", created, {"name": "renamed"})
    assert changed.json()["name"] == "renamed"
    assert changed.json()["version"] == 2
    assert changed.headers["ETag"] == '"2"'
    assert (await any_api.call("DELETE", path)).status_code == 204
    assert (await any_api.call("GET", path)).status_code == 404


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.method.tag)
async def test_every_declared_example_is_accepted_and_opens_for_the_broker_alone(
    permissive_api: Api, example: MethodExample
) -> None:
    api = permissive_api
    secrets = {
        name: getattr(example.method, name).reveal()
        for name in example.method.secret_fields()
        if getattr(example.method, name) is not None
    }
    body = {
        "name": "example",
        "auth_method": example.method.plain_settings() | secrets,
        "usable_for": example.usable_for.model_dump(mode="json"),
    }
    created = await api.create("identities", body)
    record = await stored(api, created["id"])
    method = catalogue().method(record.method)
    assert method.from_parts(record.settings, example.method.secrets_json()) == example.method
    assert (record.sealed_secrets is None) == (not secrets)
    if not secrets:
        return
    assert await opened(api, created["id"]) == secrets
    with pytest.raises(SealBrokenError):
        open_sealed(record.sealed_secrets or "", SealingKey.generate(), record.seal_context())


async def test_only_the_names_of_set_secrets_are_shown(api: Api) -> None:
    created = await api.create("identities", ASSUME_ROLE)
    assert created["secret_fields"] == ["secret_access_key"]
    assert "secret_access_key" not in created["auth_method"]
    assert created["auth_method"]["role_arn"] == ASSUME_ROLE["auth_method"]["role_arn"]  # type: ignore[index]


async def test_the_external_id_is_made_by_vreg_for_each_identity_and_cannot_be_chosen(api: Api) -> None:
    first = await api.create("identities", ASSUME_ROLE)
    second = await api.create("identities", {**ASSUME_ROLE, "name": "other"})
    assert first["external_id"] != second["external_id"]
    refused = await api.call("POST", "/identities", json={**ASSUME_ROLE, "name": "x", "external_id": "mine"})
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["field"] == "external_id"
    assert (await api.change("identities", first, {"external_id": "mine"})).status_code == 422
    changed = await api.change("identities", first, {"name": "renamed"})
    assert changed.json()["external_id"] == first["external_id"]


async def test_plain_settings_change_without_the_secret(api: Api) -> None:
    created = await api.create("identities", ASSUME_ROLE)
    before = await stored(api, created["id"])
    change = {"auth_method": {"method": "aws.assume_role", "session_name": "vreg-prod"}}
    changed = (await api.change("identities", created, change)).json()
    assert changed["auth_method"]["session_name"] == "vreg-prod"
    assert changed["auth_method"]["role_arn"] == created["auth_method"]["role_arn"]
    assert changed["credential_version"] == 1
    after = await stored(api, created["id"])
    assert after.sealed_secrets == before.sealed_secrets
    assert await opened(api, created["id"]) == {"secret_access_key": "canary-secret-access-key"}


async def test_a_new_secret_counts_as_a_new_credential_version(api: Api) -> None:
    created = await api.create("identities", ASSUME_ROLE)
    old = await stored(api, created["id"])
    change = {"auth_method": {"method": "aws.assume_role", "secret_access_key": "canary-second"}}
    changed = (await api.change("identities", created, change)).json()
    assert changed["credential_version"] == 2
    assert await opened(api, created["id"]) == {"secret_access_key": "canary-second"}
    new = await stored(api, created["id"])
    with pytest.raises(SealBrokenError):  # nobody can roll back to the old secret
        open_sealed(old.sealed_secrets or "", api.broker_key, new.seal_context())


WIDER = {"partition": "aws", "accounts": ["123456789012", "210987654321"]}
REPOINTED: list[dict[str, Any]] = [
    {"usable_for": WIDER},
    {"usable_for": {"partition": "aws", "accounts": ["210987654321"]}},
    {"usable_for": {"partition": "aws-cn", "accounts": ["123456789012"]}},
    {"usable_for": WIDER, "auth_method": {"method": "aws.assume_role", "session_name": "other"}},
    {"auth_method": {"method": "aws.access_key", "access_key_id": "AKIAIOSFODNN7EXAMPLE"}},
    {"auth_method": {"method": "aws.access_key"}},
    {"auth_method": {"method": "aws.assume_role", "session_token": "canary-token"}},
    {
        "auth_method": {"method": "basic.password", "username": "robot"},
        "usable_for": {"hosts": ["evil.example.com"]},
    },
]


@pytest.mark.parametrize("change", REPOINTED, ids=json.dumps)
async def test_a_stored_secret_is_never_re_pointed_without_being_given_again(
    api: Api, change: dict[str, Any]
) -> None:
    created = await api.create("identities", ASSUME_ROLE)
    refused = await api.change("identities", created, change)
    assert refused.status_code == 422, refused.text
    assert refused.json()["code"] == "credential_required"
    assert (await api.call("GET", f"/identities/{created['id']}")).json() == created


async def test_what_the_seal_binds_changes_together_with_the_secret(api: Api) -> None:
    created = await api.create("identities", ASSUME_ROLE)
    change = {
        "usable_for": WIDER,
        "auth_method": {"method": "aws.assume_role", "secret_access_key": "canary-again"},
    }
    changed = (await api.change("identities", created, change)).json()
    assert changed["usable_for"] == WIDER
    assert changed["credential_version"] == 2
    assert await opened(api, created["id"]) == {"secret_access_key": "canary-again"}


async def test_another_auth_method_comes_with_its_own_secret(api: Api) -> None:
    created = await api.create("identities", ASSUME_ROLE)
    method = {
        "method": "aws.access_key",
        "access_key_id": "AKIAIOSFODNN7EXAMPLE",
        "secret_access_key": "canary-other",
    }
    changed = (await api.change("identities", created, {"auth_method": method})).json()
    assert changed["auth_method"] == {
        "method": "aws.access_key",
        "access_key_id": "AKIAIOSFODNN7EXAMPLE",
    }
    assert await opened(api, created["id"]) == {"secret_access_key": "canary-other"}


async def test_a_method_of_another_provider_needs_a_usable_for_of_that_provider(api: Api) -> None:
    created = await api.create("identities", ASSUME_ROLE)
    refused = await api.change("identities", created, {"auth_method": PASSWORD["auth_method"]})
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["field"].startswith("usable_for")


async def test_an_identity_in_use_is_not_deleted_and_says_by_whom(any_api: Api) -> None:
    identity = await any_api.create("identities", ASSUME_ROLE)
    upstream = await any_api.create(
        "upstreams", {"name": "prod", "kind": "ecr", "host": ECR_HOST, "identity_id": identity["id"]}
    )
    refused = await any_api.call("DELETE", f"/identities/{identity['id']}")
    assert refused.status_code == 409
    assert refused.json()["code"] == "in_use"
    assert refused.json()["used_by"] == [{"noun": "upstream", "id": upstream["id"], "name": "prod"}]


async def test_an_identity_is_not_narrowed_away_from_an_upstream_that_uses_it(any_api: Api) -> None:
    identity = await any_api.create("identities", ASSUME_ROLE)
    await any_api.create(
        "upstreams", {"name": "prod", "kind": "ecr", "host": ECR_HOST, "identity_id": identity["id"]}
    )
    change = {
        "usable_for": {"partition": "aws", "accounts": ["210987654321"]},
        "auth_method": {"method": "aws.assume_role", "secret_access_key": "canary-again"},
    }
    refused = await any_api.change("identities", identity, change)
    assert refused.status_code == 409
    assert refused.json()["used_by"][0]["name"] == "prod"


@pytest.mark.parametrize("name", ["production", "PRODUCTION", "  Production "])
async def test_a_name_is_taken_whatever_its_case(any_api: Api, name: str) -> None:
    await any_api.create("identities", ASSUME_ROLE)
    refused = await any_api.call("POST", "/identities", json={**ASSUME_ROLE, "name": name})
    assert refused.status_code == 409
    assert refused.json()["code"] == "name_taken"
    assert refused.json()["errors"][0]["field"] == "name"


async def test_an_empty_change_changes_nothing(api: Api) -> None:
    created = await api.create("identities", ASSUME_ROLE)
    same = await api.change("identities", created, {"name": created["name"]})
    assert same.json() == created
    assert (await api.change("identities", created, {})).json() == created
