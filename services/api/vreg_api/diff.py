"""What changed between two states of one thing, told without a secret."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from datetime import datetime
from typing import Any, Final

from pydantic import BaseModel, JsonValue

from vreg_shared.messages.audit_facts import FieldChange
from vreg_shared.telemetry import redact_text

MAX_TEXT: Final = 2000
_UNTOLD: Final = frozenset({"id", "version", "created_at", "updated_at", "name_key"})
_SECRET: Final = frozenset({"sealed_secrets", "secret_sha256", "previous_sha256"})


def changes(before: object | None, after: object | None) -> tuple[FieldChange, ...]:
    """Return the fields that differ, in their order; None is what was not there, or is there no more.

    Mappings are told entry by entry, as `settings.role_arn`. Of a secret only that there is another one.
    """
    old, new = dict(_told(before)), dict(_told(after))
    return tuple(
        _change(name, old.get(name), new.get(name))
        for name in dict.fromkeys([*old, *new])
        if old.get(name) != new.get(name)
    )


def _change(name: str, before: JsonValue, after: JsonValue) -> FieldChange:
    if name in _SECRET:
        return FieldChange(field=name, is_secret=True)
    return FieldChange(field=name, before=_redacted(before), after=_redacted(after))


def _told(thing: object | None) -> Iterator[tuple[str, JsonValue]]:
    if thing is None or not is_dataclass(thing):
        return
    for each in fields(thing):
        if each.name in _UNTOLD:
            continue
        value = getattr(thing, each.name)
        if isinstance(value, dict):
            yield from ((f"{each.name}.{name}", _json(inner)) for name, inner in value.items())
        else:
            yield each.name, _json(value)


def _json(value: Any) -> JsonValue:  # noqa: ANN401 - whatever rows are made of
    if isinstance(value, BaseModel):
        dumped: JsonValue = value.model_dump(mode="json")
        return dumped
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, dict):
        return {str(name): _json(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json(each) for each in value]
    return value if isinstance(value, (bool, int, float)) or value is None else str(value)


def _redacted(value: JsonValue) -> JsonValue:
    if isinstance(value, str):
        return redact_text(value)[:MAX_TEXT]
    if isinstance(value, list):
        return [_redacted(each) for each in value]
    if isinstance(value, dict):
        return {name: _redacted(each) for name, each in value.items()}
    return value
