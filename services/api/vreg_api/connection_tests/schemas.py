"""What goes in and out of `/connection_tests`."""

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from vreg_api.fields import Identifier
from vreg_api.identities.schemas import AnyIdentityCreate, IdentityChange, TrustStepView
from vreg_api.upstreams.schemas import UpstreamChange, UpstreamCreate
from vreg_shared.messages.connection_test import Stage, StageOutcome
from vreg_shared.probe import probe_text

TestState = Literal["running", "passed", "failed", "incomplete", "cancelled"]

Probe = Annotated[
    str,
    StringConstraints(max_length=400),
    AfterValidator(probe_text),
    Field(
        title="Probe",
        description="An image that exists, without the upstream's prefix; left out, the upstream's own. "
        "Without a tag, one is chosen.",
        examples=["team/app:1.2"],
    ),
]


class ConnectionTestCreate(BaseModel):
    """What to test: a saved upstream, one as it would be after a change, or one that is not saved at all.

    The same holds for its identity. Nothing of it is stored but its result.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        json_schema_extra={
            "examples": [
                {"upstream_id": "01KAS1G6V5X4T3NQ7R8M2C9B0Z"},
                {
                    "upstream": {
                        "name": "production-ecr",
                        "kind": "ecr",
                        "host": "123456789012.dkr.ecr.eu-west-1.amazonaws.com",
                        "identity_id": "01KAS1G6V5X4T3NQ7R8M2C9B0Z",
                    },
                    "probe": "team/app:1.2",
                },
            ]
        },
    )

    upstream_id: Annotated[Identifier | None, Field(description="A saved upstream.")] = None
    upstream_change: Annotated[
        UpstreamChange | None, Field(description="With `upstream_id`: as it would be after this change.")
    ] = None
    upstream: Annotated[
        UpstreamCreate | None, Field(description="Instead of `upstream_id`: one that is not saved.")
    ] = None
    identity_change: Annotated[
        IdentityChange | None, Field(description="The upstream's identity, as it would be after this change.")
    ] = None
    identity: Annotated[
        AnyIdentityCreate | None,
        Field(description="An identity that is not saved, in place of the upstream's."),
    ] = None
    probe: Probe | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.upstream_id is None) == (self.upstream is None):
            message = "give either upstream_id or upstream"
            raise ValueError(message)
        if self.upstream is not None and self.upstream_change is not None:
            message = "upstream_change goes with upstream_id alone"
            raise ValueError(message)
        if self.identity is not None and self.identity_change is not None:
            message = "give either identity or identity_change"
            raise ValueError(message)
        return self


class StageView(BaseModel):
    """How a stage ended."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    stage: Stage
    outcome: StageOutcome
    reason: Annotated[str, Field(description="A stable code; empty when it passed.", examples=["dns_failed"])]
    cause: Annotated[str, Field(description="The reason in plain words, where it is a common one.")]
    detail: Annotated[str, Field(description="The provider's own words, without secrets.")]
    remedy: Annotated[str, Field(description="What to do about it.")]
    seconds: float
    facts: Annotated[dict[str, str], Field(description="What was learnt.")]


class ConnectionTestView(BaseModel):
    """A connection test and its stages, as far as it has come."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    id: str
    state: Annotated[
        TestState,
        Field(
            description="*passed*: an image was pulled. *incomplete*: all was well, and no image was named."
        ),
    ]
    reason: Annotated[str, Field(description="Of the first stage that failed.")]
    upstream_id: Annotated[str | None, Field(description="The saved upstream, if it is one.")]
    upstream_name: str
    host: str
    probe: str
    started_at: datetime
    ended_at: datetime | None
    stages: tuple[StageView, ...]
    remedy_steps: Annotated[
        tuple[TrustStepView, ...],
        Field(description="What to do in the cloud about the first failure, with everything filled in."),
    ]
