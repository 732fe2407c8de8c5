"""A proxy asks the broker for a new lease, after an upstream refused one: `vreg.broker.refresh`."""

from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

SUBJECT: Final = "vreg.broker.refresh"
DEADLINE_SECONDS: Final = 5.0


class RefreshRequest(BaseModel):
    """Names the generation that was refused, so that many askers cost one exchange."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    upstream_id: str
    refused_generation: str | None = None


class RefreshReply(BaseModel):
    """*issued*: a lease newer than the refused one is on the bus. `detail` is for logs, not for clients."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    outcome: Literal["issued", "refused", "unavailable"]
    reason: str = ""
    detail: str = ""
    retry_after: float | None = None
    generation: str | None = None
