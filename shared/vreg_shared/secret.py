"""Text a person or a cloud entrusted to us, masked wherever it might be printed."""

import hmac
from typing import Any, Final

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

MASK: Final = "********"


class Secret:
    """A string that prints as a mask; `reveal()` is the only way to its text.

    Equality takes the same time whatever differs. As a pydantic field it reads a JSON string
    and writes the mask, so a model that holds one can be dumped without leaking it.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text itself; call it as late as possible."""
        return self._text

    def __repr__(self) -> str:
        return f"Secret({MASK!r})"

    def __str__(self) -> str:
        return MASK

    def __format__(self, spec: str) -> str:
        return format(MASK, spec)

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._text.encode(), other._text.encode())

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __reduce__(self) -> tuple[Any, ...]:
        message = "a Secret is never pickled: seal it instead"
        raise TypeError(message)

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: object, _handler: GetCoreSchemaHandler) -> CoreSchema:
        text = core_schema.no_info_before_validator_function(cls._to_text, core_schema.str_schema())
        return core_schema.no_info_after_validator_function(
            cls,
            text,
            serialization=core_schema.plain_serializer_function_ser_schema(str),
        )

    @classmethod
    def _to_text(cls, given: object) -> object:
        return given.reveal() if isinstance(given, cls) else given

    @classmethod
    def __get_pydantic_json_schema__(
        cls, _schema: CoreSchema, _handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"type": "string", "format": "password", "writeOnly": True}
