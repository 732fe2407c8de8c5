"""What forms are made from follows from declarations, and from what the operator permits."""

import shutil
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from tests.support.api_world import Api, running_api
from tests.support.keyless import Ambient, Keyless, catalogue_with, read_document
from vreg_api.identities.schemas import AnyIdentityCreate
from vreg_shared.catalogue import catalogue
from vreg_shared.operator_grants import OperatorGrants


async def providers(api: Api) -> dict[str, dict[str, Any]]:
    answer = await api.call("GET", "/provider_catalogue")
    assert answer.status_code == 200
    return {each["name"]: each for each in answer.json()["providers"]}


async def test_it_holds_every_provider_kind_method_and_form(api: Api) -> None:
    shown = await providers(api)

    assert shown.keys() == {provider.name for provider in catalogue().providers}
    for provider in catalogue().providers:
        told = shown[provider.name]
        assert [kind["name"] for kind in told["kinds"]] == [kind.name for kind in provider.kinds]
        assert [each["method"] for each in told["methods"]] == [each.tag for each in provider.methods]
        assert told["usable_for"]["properties"].keys() == provider.usable_for.model_fields.keys()
        for method, form in zip(provider.methods, told["methods"], strict=True):
            assert form["form"]["properties"].keys() == method.model_fields.keys()
            assert set(form["secret_fields"]) == method.secret_fields()
            assert form["title"]
            assert form["help"]


async def test_an_upstream_form_knows_which_methods_fit_a_kind(api: Api) -> None:
    kinds = {kind["name"]: kind for each in (await providers(api)).values() for kind in each["kinds"]}

    for kind in catalogue().kinds():
        told = kinds[kind.name]
        assert tuple(told["methods"]) == kind.methods
        assert (told["anonymous"], told["example_host"]) == (kind.anonymous, kind.example_host)


async def test_examples_fill_the_form_in_but_for_secrets(api: Api) -> None:
    reader: TypeAdapter[Any] = TypeAdapter(AnyIdentityCreate)
    shown = await providers(api)
    for provider in catalogue().providers:
        examples = [each for form in shown[provider.name]["methods"] for each in form["examples"]]
        assert len(examples) == len(provider.examples)
        for example, declared in zip(examples, provider.examples, strict=True):
            secret = declared.method.secrets_json()
            assert secret is None or secret.reveal() not in str(example)
            body = {"name": "x", "auth_method": example["auth_method"], "usable_for": example["usable_for"]}
            assert reader.validate_python(body).auth_method.tag == declared.method.tag


async def test_it_follows_another_provider_and_what_the_operator_permits(
    tmp_path: Path, migrated: Path
) -> None:
    shutil.copy(migrated, tmp_path / "vreg.db")
    path = f"sqlite:///{tmp_path}/vreg.db"
    of = catalogue_with(title="Another", read_document=read_document, methods=(Ambient,))
    for grants in (OperatorGrants(), OperatorGrants(ambient_methods=frozenset({Ambient.tag}))):
        api = Api(path, grants=grants, of=of)
        shown = api.world.provider_catalogue.view().providers
        await api.client.aclose()
        await api.database.close()
        [basic] = [each for each in shown if each.name == "basic"]
        assert (basic.title, basic.reads_documents) == ("Another", True)
        assert (basic.methods[0].is_ambient, basic.methods[0].is_permitted) == (
            True,
            Ambient.tag in grants.ambient_methods,
        )
    async with running_api(path, is_migrated=True, of=catalogue_with(methods=(Keyless,))) as keyless:
        [basic_told] = [each for name, each in (await providers(keyless)).items() if name == "basic"]
    assert basic_told["methods"][0]["is_permitted"]
    assert not basic_told["reads_documents"]


async def test_it_is_in_the_description(api: Api) -> None:
    schema = (await api.call("GET", "/openapi.json")).json()

    assert "/api/v1/provider_catalogue" in schema["paths"]
    assert "ProviderCatalogueView" in schema["components"]["schemas"]
