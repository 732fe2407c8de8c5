"""What goes out of `/pulls`."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict

from vreg_shared.messages.pulls import Pull


class PullView(Pull):
    """Equal pulls of about one second, by one proxy process."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    id: int
    proxy: str


class PullFilter(BaseModel):
    """Which pulls are wanted; what is not given does not matter."""

    model_config = ConfigDict(frozen=True)

    access_id: str | None = None
    registry: str | None = None
    upstream: str | None = None
    repository: str | None = None
    digest: str | None = None
    since: datetime | None = None
    until: datetime | None = None
