"""A JSON object that may hold secrets anywhere: masked wherever it might be printed."""

from collections.abc import Mapping
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from vreg_shared.secret import MASK


class SecretDocument:
    """Prints as a mask; `reveal()` is the only way to what it holds."""

    __slots__ = ("_members",)

    def __init__(self, members: Mapping[str, Any]) -> None:
        self._members = members

    def reveal(self) -> Mapping[str, Any]:
        """Return the members themselves; call it as late as possible."""
        return self._members

    def __repr__(self) -> str:
        return f"SecretDocument({MASK!r})"

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: object, _handler: GetCoreSchemaHandler) -> CoreSchema:
        members = core_schema.dict_schema(core_schema.str_schema(), core_schema.any_schema())
        return core_schema.no_info_after_validator_function(
            cls, members, serialization=core_schema.plain_serializer_function_ser_schema(lambda _: MASK)
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, _schema: CoreSchema, _handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"type": "object", "writeOnly": True}
