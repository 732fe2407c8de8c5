"""The forms of auth methods, made from the catalogue's declarations: to create, to change and to show one."""

from collections.abc import Iterable
from copy import copy
from functools import cache, reduce
from operator import or_
from typing import Annotated, Any, Final, cast

from pydantic import BaseModel, ConfigDict, Field, create_model
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from vreg_shared.auth_method import AuthMethod
from vreg_shared.catalogue import Catalogue

_TAG_FIELD: Final = "method"


class AuthMethodChange(BaseModel):
    """Fields of an auth method to change; those left out stay, secrets too."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
    method: str


class AuthMethodView(BaseModel):
    """The settings of an auth method that are no secrets."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)
    method: str


def tagged(members: Iterable[type[BaseModel]]) -> Any:  # noqa: ANN401 - a type made while running
    """Return the union of `members`, told apart by their `method`."""
    kinds = tuple(members)
    union = reduce(or_, cast("tuple[Any, ...]", kinds))
    return Annotated[union, Field(discriminator=_TAG_FIELD)] if len(kinds) > 1 else union


@cache
def change_of(method: type[AuthMethod]) -> type[AuthMethodChange]:
    """Return the form that changes `method`: only the tag must be there."""
    optional: dict[str, Any] = {name: (info.annotation, _optional(info)) for name, info in _fields(method)}
    return create_model(
        f"{method.__name__}Change",
        __base__=AuthMethodChange,
        __doc__=f"Fields of “{method.title}” to change; those left out stay.",
        method=_tag(method),
        **optional,
    )


@cache
def view_of(method: type[AuthMethod]) -> type[AuthMethodView]:
    """Return what is shown of `method`: everything but secrets."""
    secrets = method.secret_fields()
    plain: dict[str, Any] = {
        name: (info.annotation, info) for name, info in _fields(method) if name not in secrets
    }
    return create_model(
        f"{method.__name__}View",
        __base__=AuthMethodView,
        __doc__=f"“{method.title}”, without its secrets.",
        method=_tag(method),
        **plain,
    )


def views(catalogue: Catalogue) -> Any:  # noqa: ANN401 - a type made while running
    """Return the union of all views."""
    return tagged(view_of(method) for method in catalogue.methods())


def changes(catalogue: Catalogue) -> Any:  # noqa: ANN401 - a type made while running
    """Return the union of all change forms."""
    return tagged(change_of(method) for method in catalogue.methods())


def example_of(method: AuthMethod) -> dict[str, Any]:
    """Return an example as a form is filled in. Its secrets are made up, and well formed."""
    given = {name: getattr(method, name) for name in sorted(method.secret_fields())}
    secrets = {name: secret.reveal() for name, secret in given.items() if secret is not None}
    return method.plain_settings() | secrets


def _fields(method: type[AuthMethod]) -> list[tuple[str, FieldInfo]]:
    return [(name, info) for name, info in method.model_fields.items() if name != _TAG_FIELD]


def _tag(method: type[AuthMethod]) -> Any:  # noqa: ANN401 - a field's definition
    return (method.model_fields[_TAG_FIELD].annotation, ...)


def _optional(info: FieldInfo) -> Any:  # noqa: ANN401 - a field's definition
    """Left out means unchanged, which is not the same as the default of a new one."""
    changed = copy(info)
    changed.default = PydanticUndefined
    changed.default_factory = lambda: None
    return changed
