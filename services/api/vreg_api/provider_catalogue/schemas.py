"""What `/provider_catalogue` answers with."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue


class KindView(BaseModel):
    """A kind of registry."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    name: Annotated[str, Field(examples=["ecr"])]
    title: str
    example_host: str
    methods: Annotated[tuple[str, ...], Field(description="Auth methods of upstreams of this kind.")]
    anonymous: Annotated[bool, Field(description="Whether an upstream may have no identity.")]
    is_generic: Annotated[bool, Field(description="Whether it takes any host that no other kind knows.")]


class ExampleView(BaseModel):
    """A valid configuration, but for its secrets."""

    model_config = ConfigDict(frozen=True)

    auth_method: dict[str, JsonValue]
    usable_for: dict[str, JsonValue]
    kind: str
    host: str


class MethodView(BaseModel):
    """An auth method and its form."""

    model_config = ConfigDict(frozen=True)

    method: Annotated[str, Field(examples=["aws.assume_role"])]
    title: str
    help: str
    is_ambient: Annotated[bool, Field(description="Whether it uses the machine that vreg runs on.")]
    is_permitted: Annotated[bool, Field(description="Whether the operator permits it now.")]
    form: Annotated[dict[str, Any], Field(description="JSON Schema of `auth_method`.")]
    secret_fields: tuple[str, ...]
    examples: tuple[ExampleView, ...]


class ProviderView(BaseModel):
    """A cloud or a family of registry products."""

    model_config = ConfigDict(frozen=True)

    name: Annotated[str, Field(examples=["aws"])]
    title: str
    kinds: tuple[KindView, ...]
    methods: tuple[MethodView, ...]
    usable_for: Annotated[dict[str, Any], Field(description="JSON Schema of an identity's `usable_for`.")]
    reads_documents: Annotated[
        bool, Field(description="Whether identities can be imported from documents in its own format.")
    ]


class ProviderCatalogueView(BaseModel):
    """Every provider there is."""

    model_config = ConfigDict(frozen=True)

    providers: tuple[ProviderView, ...]
