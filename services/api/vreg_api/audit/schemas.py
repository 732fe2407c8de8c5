"""What goes in and out of `/audit-events` and `/audit-chain`."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Order = Literal["newest", "oldest"]


class AuditEventView(BaseModel):
    """An archived event, and its place in the chain."""

    model_config = ConfigDict(frozen=True)

    sequence: Annotated[int, Field(description="Its place in the archive: strictly increasing.")]
    previous_hash: Annotated[str, Field(description="The hash of the event before it.")]
    hash: Annotated[
        str, Field(description="SHA-256 of sequence, previous hash and event, as docs/audit.md says.")
    ]
    event: Annotated[dict[str, Any], Field(description="The event as its writer signed it: CloudEvents 1.0.")]


class GapView(BaseModel):
    """Events that their writer numbered and that never arrived."""

    model_config = ConfigDict(frozen=True)

    source: str
    after: Annotated[int, Field(description="The writer's number of the last event before the gap.")]
    before: Annotated[int, Field(description="The writer's number of the first event after it.")]


class AuditChainView(BaseModel):
    """What verifying the archive found."""

    model_config = ConfigDict(frozen=True)

    is_intact: Annotated[bool, Field(description="Whether there is neither a flaw nor a gap.")]
    length: Annotated[int, Field(description="How many events there are now.")]
    head_sequence: int
    head_hash: Annotated[str, Field(description="Keep it elsewhere: it stands for everything before it.")]
    pruned_until: Annotated[int, Field(description="The last event that retention let go of; 0 if none.")]
    verified_from: Annotated[int, Field(description="The first event that was looked at this time.")]
    verified_until: int
    flaws: Annotated[tuple[str, ...], Field(description="What is wrong, each naming its event; 100 at most.")]
    gaps: tuple[GapView, ...]
    rejected: Annotated[int, Field(description="How much came as an event and was none, or nobody's.")]


class Filter(BaseModel):
    """Which events are wanted; what is not given does not matter."""

    model_config = ConfigDict(frozen=True)

    type: str | None = None
    writer: str | None = None
    actor: str | None = None
    identity: str | None = None
    upstream: str | None = None
    registry: str | None = None
    outcome: str | None = None
    since: datetime | None = None
    until: datetime | None = None
