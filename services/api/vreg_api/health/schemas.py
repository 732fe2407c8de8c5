"""What goes in and out of `/health`."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from vreg_api.fields import Description
from vreg_shared.messages.health import HealthState


class TokenLifeView(BaseModel):
    """The lease that an upstream is pulled from with."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    issued_at: datetime | None
    refresh_at: Annotated[datetime | None, Field(description="When it is refreshed, if all goes well.")]
    not_after: Annotated[datetime | None, Field(description="When it ends; null if only a person ends it.")]
    next_try_at: Annotated[datetime | None, Field(description="When the next exchange is made.")]
    failures: Annotated[int, Field(description="Refreshes that failed in a row.")]


class AcknowledgementView(BaseModel):
    """Somebody has seen it. It holds until the state or its reason changes."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    by: str
    at: datetime
    note: str


class UpstreamHealthView(BaseModel):
    """One upstream's health."""

    model_config = ConfigDict(frozen=True)

    upstream_id: str
    upstream_name: str
    state: HealthState
    since: Annotated[datetime | None, Field(description="Null while nobody has told of it.")]
    reason: Annotated[str, Field(description="A stable code.", examples=["permission_denied"])]
    detail: Annotated[str, Field(description="The provider's own words, without secrets.")]
    remedy: str
    checked_at: datetime | None
    ok_at: Annotated[datetime | None, Field(description="When it last answered well.")]
    failures: int
    breaks_at: Annotated[
        datetime | None,
        Field(description="When pulls of what is not cached will fail if nothing changes."),
    ]
    outage_budget_seconds: Annotated[
        float | None,
        Field(description="How long pulls go on if no refresh succeeds; null where no token ends."),
    ]
    token: TokenLifeView | None
    acknowledgement: AcknowledgementView | None


class HealthChangeView(BaseModel):
    """A state that an upstream was in, and from when."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    state: HealthState
    reason: str
    detail: str
    remedy: str
    since: datetime


class RegistryHealthView(BaseModel):
    """A virtual registry's health: that of its upstreams, rolled up."""

    model_config = ConfigDict(frozen=True)

    registry_id: str
    slug: str
    state: HealthState
    upstreams: tuple[UpstreamHealthView, ...]


class HealthSummary(BaseModel):
    """How many upstreams are in which state, and whether the bus brings news."""

    model_config = ConfigDict(frozen=True)

    states: dict[HealthState, int]
    is_current: Annotated[bool, Field(description="False while the bus is down: then this may be old.")]


class Acknowledge(BaseModel):
    """Say that somebody looks after it."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    note: Description = ""
