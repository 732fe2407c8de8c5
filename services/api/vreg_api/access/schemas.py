"""What goes in and out of `/access_tokens`; the token itself goes out once."""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from vreg_api.fields import Identifier, Name, may_be_left_out
from vreg_shared.messages.access import Role


def _in_utc(time: datetime) -> datetime:
    try:
        return time.astimezone(UTC)
    except OverflowError as error:
        message = "is out of range"
        raise ValueError(message) from error


def _no_duplicates(ids: tuple[str, ...] | None) -> tuple[str, ...] | None:
    return ids if ids is None else tuple(sorted(set(ids)))


TokenName = Annotated[Name, Field(description="For people; need not be unique.", examples=["ci"])]
TokenRole = Annotated[
    Role, Field(title="Role", description="puller: pull images. admin: also change the configuration.")
]
RegistryIds = Annotated[
    Annotated[tuple[Identifier, ...], Field(max_length=1000)] | None,
    AfterValidator(_no_duplicates),
    Field(
        title="Virtual registries",
        description="The only registries the token is good for; null for all, now and later.",
    ),
]
ExpiresAt = Annotated[
    Annotated[AwareDatetime, AfterValidator(_in_utc)] | None,
    Field(
        title="Expires at", description="With time zone; null for never.", examples=["2027-01-31T00:00:00Z"]
    ),
]


class AccessTokenCreate(BaseModel):
    """A token for a person or a program."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        json_schema_extra={
            "examples": [{"name": "ci", "role": "puller", "expires_at": "2027-01-31T00:00:00Z"}]
        },
    )

    name: TokenName
    role: TokenRole
    registry_ids: RegistryIds = None
    expires_at: ExpiresAt = None


class AccessTokenChange(BaseModel):
    """What to change; the token itself stays the same."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    name: TokenName = may_be_left_out()
    role: TokenRole = may_be_left_out()
    registry_ids: RegistryIds = may_be_left_out()
    expires_at: ExpiresAt = may_be_left_out()


class AccessTokenView(BaseModel):
    """An access token, without what proves it."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    id: str
    name: str
    role: Role
    registry_ids: tuple[str, ...] | None
    expires_at: datetime | None
    version: int
    created_at: datetime
    updated_at: datetime


class NewAccessTokenView(AccessTokenView):
    """An access token that was just made."""

    token: Annotated[str, Field(description="Shown only now: keep it.")]
