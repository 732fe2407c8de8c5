"""What goes in and out of `/access_tokens`; the token itself goes out once."""

from datetime import UTC, datetime
from typing import Annotated, Final

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StrictInt

from vreg_api.fields import Identifier, Name, may_be_left_out
from vreg_api.permissions import Action, Noun
from vreg_shared.messages.access import Role

MAX_OVERLAP_HOURS: Final = 168


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
    Role,
    Field(
        title="Role",
        description="puller: pull images. viewer: also read the configuration. editor: also change it, but "
        "for access tokens and what uses vreg's own machine. auditor: read the configuration and the audit, "
        "without pulling. admin: everything.",
    ),
]
RegistryIds = Annotated[
    Annotated[tuple[Identifier, ...], Field(max_length=1000)] | None,
    AfterValidator(_no_duplicates),
    Field(
        title="Virtual registries",
        description="The only registries the token is good for, and all that it sees and changes belongs to "
        "them; null for all, now and later.",
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


class AccessTokenRotation(BaseModel):
    """How a token gets a new secret."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    overlap_hours: Annotated[
        StrictInt,
        Field(
            title="Overlap",
            description="Hours for which the secret until now is good as well; 0 ends it at once.",
            ge=0,
            le=MAX_OVERLAP_HOURS,
        ),
    ] = 0


class AccessTokenView(BaseModel):
    """An access token, without what proves it."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    id: str
    name: str
    prefix: Annotated[str, Field(description="What the token's text begins with, to know it by.")]
    role: Role
    registry_ids: tuple[str, ...] | None
    expires_at: datetime | None
    previous_until: Annotated[
        datetime | None, Field(description="Until when the secret before the last rotation is good as well.")
    ]
    last_used_at: Annotated[
        datetime | None, Field(description="When the API was last used with it, to the minute, or null.")
    ]
    version: int
    created_at: datetime
    updated_at: datetime


class NewAccessTokenView(AccessTokenView):
    """An access token that was just made."""

    token: Annotated[str, Field(description="Shown only now: keep it.")]


class PermissionView(BaseModel):
    """Something that can be done."""

    model_config = ConfigDict(frozen=True)

    action: Action
    noun: Noun


class OwnAccessTokenView(AccessTokenView):
    """The access token of whoever asks."""

    permissions: Annotated[
        tuple[PermissionView, ...],
        Field(description="What the role and its limits leave to do; not with every one of a noun."),
    ]
