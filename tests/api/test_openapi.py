from typing import Any

from pydantic import TypeAdapter

from tests.support.api_world import Api
from vreg_api.identities.schemas import AnyIdentityCreate
from vreg_shared.catalogue import catalogue


async def described(api: Api) -> dict[str, Any]:
    schema: dict[str, Any] = (await api.call("GET", "/openapi.json")).json()
    return schema


async def test_the_description_follows_from_the_declarations(api: Api) -> None:
    schema = await described(api)
    assert schema["openapi"].startswith("3.1")
    shapes = schema["components"]["schemas"]
    for provider in catalogue().providers:
        form = shapes[f"{provider.name.capitalize()}IdentityCreate"]
        assert form["examples"]
        for method in provider.methods:
            shape = shapes[method.__name__]
            assert shape["properties"]["method"]["const"] == method.tag
            for name in method.secret_fields():
                text = str(shape["properties"][name])
                assert "'writeOnly': True" in text
                assert name not in shapes[f"{method.__name__}View"]["properties"]
                assert name in shapes[f"{method.__name__}Change"]["properties"]
                assert name not in shapes[f"{method.__name__}Change"].get("required", [])
    kinds = shapes["UpstreamCreate"]["properties"]["kind"]
    assert kinds["enum"] == [kind.name for kind in catalogue().kinds()]


async def test_every_operation_tells_of_problems_and_who_may(api: Api) -> None:
    schema = await described(api)
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            assert operation["responses"]["default"]["content"].keys() == {"application/problem+json"}, path
            assert operation["security"], (method, path)
            assert operation["x-vreg-permission"], (method, path)
            assert operation["description"], (method, path)
    assert {"Problem", "FieldProblem", "UsedBy"} <= schema["components"]["schemas"].keys()
    assert "HTTPValidationError" not in str(schema)


async def test_every_reference_leads_somewhere(api: Api) -> None:
    schema = await described(api)

    def references(value: object) -> list[str]:
        if isinstance(value, dict):
            own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
            return own + [each for inner in value.values() for each in references(inner)]
        if isinstance(value, list):
            return [each for inner in value for each in references(inner)]
        return []

    shapes = schema["components"]["schemas"]
    assert {each.rpartition("/")[2] for each in references(schema)} <= shapes.keys()


async def test_the_examples_in_the_forms_are_valid(api: Api) -> None:
    shapes = (await described(api))["components"]["schemas"]
    reader: TypeAdapter[Any] = TypeAdapter(AnyIdentityCreate)
    for provider in catalogue().providers:
        for example in shapes[f"{provider.name.capitalize()}IdentityCreate"]["examples"]:
            assert reader.validate_python(example).auth_method.method == example["auth_method"]["method"]
