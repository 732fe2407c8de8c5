"""What was pulled, as proxies tell the api: stream `VREG_ACCESS`, a batch of pulls a message.

An access log and no audit: not signed, lost in part while the bus is down, and kept for a short while.
"""

from datetime import datetime
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

STREAM: Final = "VREG_ACCESS"
SUBJECT: Final = "vreg.access.proxy.pulls"
MAX_PULLS: Final = 500
"""Of one batch, so that it fits a message however long its names are."""
What = Literal["manifest", "blob"]
_Text = Annotated[str, Field(max_length=600, pattern=r"^[^\x00]*$")]
_Number = Annotated[int, Field(ge=0, lt=2**63)]


class Pull(BaseModel):
    """Equal pulls of about one second: `count` of them, with `bytes` together. `time` is the first's."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    time: datetime
    access_id: _Text | None = Field(default=None, description="The access token; null for anonymous pulls.")
    registry_id: _Text
    upstream_id: _Text | None = None
    repository: _Text
    reference: _Text = Field(description="The tag or digest that was asked for.")
    digest: _Text | None = None
    what: What
    hit: _Text = Field(
        description="Where the answer came from: memory, disk, joined (a download under way), filled (from "
        "the upstream, and kept), revalidated, stale, or passed (from the upstream, and not kept)."
    )
    bytes: _Number
    count: Annotated[int, Field(ge=1, lt=2**63)] = 1


class PullBatch(BaseModel):
    """Some pulls of one proxy process; `dropped` is how many it could not tell of since the batch before."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: _Text = Field(description="Unique, for a batch may come twice.")
    proxy: _Text
    pulls: tuple[Pull, ...]
    dropped: _Number = 0
