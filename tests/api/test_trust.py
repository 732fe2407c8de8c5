"""What vreg tells of an identity for the cloud's side of trust."""

import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.api_world import ASSUME_ROLE, PASSWORD, ROOT, Api, running_api
from tests.support.issuer_site import ISSUER_URL
from tests.support.keyless import Keyless, catalogue_with
from vreg_shared.catalogue import catalogue
from vreg_shared.operator_grants import OperatorGrants
from vreg_shared.provider import MethodExample

EXAMPLES = [example for provider in catalogue().providers for example in provider.examples]
EVERYTHING = OperatorGrants(
    frozenset(method.tag for method in catalogue().methods()), {"irsa": Path("/t")}, ISSUER_URL
)


@pytest.fixture
def database(tmp_path: Path, migrated: Path) -> str:
    shutil.copy(migrated, tmp_path / "vreg.db")
    return f"sqlite:///{tmp_path}/vreg.db"


@pytest.fixture
async def permissive(database: str) -> AsyncIterator[Api]:
    """An api whose operator permits and configured everything."""
    async with running_api(database, is_migrated=True, grants=EVERYTHING) as api:
        yield api


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.method.tag)
async def test_every_method_has_a_trust_set_up(permissive: Api, example: MethodExample) -> None:
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
    created = await permissive.create("identities", body)

    told = (await permissive.call("GET", f"/identities/{created['id']}/trust")).json()

    assert told["subject"] == f"vreg:identity:{created['id']}"
    assert told["external_id"] == created["external_id"]
    assert (told["issuer_url"], told["objections"]) == (ISSUER_URL, [])
    assert all(each["title"] and each["text"] for each in told["steps"])
    assert not any(secret in str(told) for secret in secrets.values())


async def test_the_steps_are_filled_in_for_this_identity_and_stay_when_it_is_renamed(database: str) -> None:
    of = catalogue_with(methods=(Keyless,))
    async with running_api(database, is_migrated=True, grants=EVERYTHING, of=of) as api:
        created = await api.create("identities", PASSWORD)
        told = (await api.call("GET", f"/identities/{created['id']}/trust")).json()
        await api.change("identities", created, {"name": "renamed"})
        again = (await api.call("GET", f"/identities/{created['id']}/trust")).json()
    policy, role = told["steps"]
    assert policy == {
        "title": "Write the policy",
        "language": "json",
        "file": "trust.json",
        "text": f'{{"sub": "vreg:identity:{created["id"]}"}}',
    }
    assert (role["language"], role["file"]) == ("sh", None)
    assert role["text"].endswith(f"{told['subject']} {created['external_id']} {ISSUER_URL} harbor robot")
    assert again == told | {
        "steps": [policy, role | {"text": role["text"].replace("harbor robot", "renamed")}]
    }


async def test_an_issuer_that_is_needed_and_not_configured_is_told_and_not_an_error(database: str) -> None:
    of = catalogue_with(methods=(Keyless,))
    async with running_api(database, is_migrated=True, grants=EVERYTHING, of=of) as api:
        created = await api.create("identities", PASSWORD)
        without = replace(api.world.identities, grants=OperatorGrants())
        told = await without.trust(created["id"], ROOT)
    assert told.issuer_url is None
    assert [each.code for each in told.objections] == ["issuer_not_configured"]
    assert "VREG_ISSUER_URL" in told.objections[0].message
    assert len(told.steps) == 2


async def test_nobody_in_particular_is_told_and_only_of_what_there_is(api: Api) -> None:
    created = await api.create("identities", ASSUME_ROLE)
    nobody = await api.call("GET", "/identities/01KAS1G6V5X4T3NQ7R8M2C9B0Z/trust")
    api.client.headers.pop("Authorization")
    anonymous = await api.call("GET", f"/identities/{created['id']}/trust")

    assert (nobody.status_code, nobody.json()["code"]) == (404, "not_found")
    assert anonymous.status_code == 401
