"""What goes in and out of `/identities`; secrets only go in."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Discriminator, Field, JsonValue, Tag, create_model

from vreg_api.fields import Name, may_be_left_out
from vreg_api.identities.auth_method_forms import (
    AuthMethodChange,
    AuthMethodView,
    changes,
    example_of,
    tagged,
    views,
)
from vreg_api.problems import FieldProblem
from vreg_api.secret_document import SecretDocument
from vreg_shared.auth_method import AuthMethod, UsableFor
from vreg_shared.catalogue import UnknownMethodError, catalogue
from vreg_shared.provider import Provider

_PROVIDER_TAG: Final = "provider:"


class IdentityCreate(BaseModel):
    """A named, reusable way to prove ourselves to one cloud."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    name: Name
    auth_method: AuthMethod
    usable_for: UsableFor


class IdentityChange(BaseModel):
    """What to change. Secrets stay as they are unless given.

    Changing the auth method or `usable_for` needs the secrets again: they are sealed to both.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    name: Name = may_be_left_out()
    if TYPE_CHECKING:
        auth_method: AuthMethodChange = may_be_left_out()
    else:
        auth_method: changes(catalogue()) = may_be_left_out()
    usable_for: dict[str, JsonValue] = may_be_left_out()


class IdentityImport(BaseModel):
    """An identity as its cloud's own tools describe it; what vreg knows of the document is taken over."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    name: Name
    provider: Annotated[
        str | None,
        Field(description="Whose document it is; left out, whoever can read it.", examples=["gcp"]),
    ] = None
    document: Annotated[
        SecretDocument,
        Field(description="The document, as a JSON object. It is never shown again."),
    ]
    usable_for: dict[str, JsonValue]


class TrustStepView(BaseModel):
    """One thing to do in the cloud: run `text` (`sh`), or put it (`json`) into `file`."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    title: str
    language: Annotated[str, Field(examples=["sh"])]
    file: str | None
    text: str


class TrustView(BaseModel):
    """What the cloud must be told of an identity."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    subject: Annotated[
        str, Field(description="What vreg's own issuer calls the identity in its tokens; never changed.")
    ]
    issuer_url: Annotated[str | None, Field(description="vreg's own issuer, if the operator configured one.")]
    external_id: Annotated[str, Field(description="Made by vreg and never changed.")]
    objections: Annotated[
        tuple[FieldProblem, ...],
        Field(description="What the operator has yet to permit or configure for the auth method to work."),
    ]
    steps: tuple[TrustStepView, ...]


class IdentityView(BaseModel):
    """An identity, without its secrets."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    id: str
    name: str
    if TYPE_CHECKING:
        auth_method: AuthMethodView
    else:
        auth_method: views(catalogue())
    secret_fields: Annotated[
        tuple[str, ...], Field(description="The secrets that are set; they are never shown.")
    ]
    usable_for: dict[str, JsonValue]
    external_id: Annotated[
        str,
        Field(description="Made by vreg and never changed; an AWS role's trust policy should require it."),
    ]
    credential_version: Annotated[int, Field(description="Counts how often the secrets were given.")]
    version: int
    created_at: datetime
    updated_at: datetime


def _create_form(provider: Provider) -> type[IdentityCreate]:
    """Return the form for identities of one provider."""
    examples: list[JsonValue] = [
        {
            "name": f"{provider.name}-{example.method.tag.partition('.')[2].replace('_', '-')}",
            "auth_method": example_of(example.method),
            "usable_for": example.usable_for.model_dump(mode="json"),
        }
        for example in provider.examples
    ]
    form: type[IdentityCreate] = create_model(
        f"{provider.name.capitalize()}IdentityCreate",
        __base__=IdentityCreate,
        __doc__=f"A named, reusable way to prove ourselves to {provider.title}.",
        auth_method=(tagged(provider.methods), ...),
        usable_for=(provider.usable_for, ...),
    )
    form.model_config["json_schema_extra"] = {"examples": examples}
    form.model_rebuild(force=True)
    return form


def _provider_tag(given: Any) -> str | None:  # noqa: ANN401 - whatever was sent
    """Return the provider of the method that was named."""
    method = given.get("auth_method") if isinstance(given, dict) else getattr(given, "auth_method", None)
    name = method.get("method") if isinstance(method, dict) else getattr(method, "method", None)
    try:
        return _PROVIDER_TAG + catalogue().provider_of_method(name).name if isinstance(name, str) else None
    except UnknownMethodError:
        return None


def _create_forms() -> Any:  # noqa: ANN401 - a type made while running
    union: Any = None
    for provider in catalogue().providers:
        member: Any = Annotated[_create_form(provider), Tag(_PROVIDER_TAG + provider.name)]
        union = member if union is None else union | member
    tags = ", ".join(method.tag for method in catalogue().methods())
    return Annotated[
        union,
        Discriminator(
            _provider_tag,
            custom_error_type="unknown_method",
            custom_error_message=f"name one of the auth methods: {tags}",
        ),
    ]


if TYPE_CHECKING:
    AnyIdentityCreate = IdentityCreate
else:
    AnyIdentityCreate = _create_forms()
