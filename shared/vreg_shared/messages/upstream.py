"""An upstream, as the api tells brokers and proxies of it: `vreg_config`, key `upstream.<id>`."""

from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

BUCKET: Final = "vreg_config"
KEY_FILTER: Final = "upstream.*"
StalePolicy = Literal["never", "on_unavailable", "always"]


class UpstreamRecord(BaseModel):
    """One remote registry we may pull from. `tag_validity_seconds` is how long a resolved tag is trusted."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    name: str
    kind: str
    host: str
    identity_id: str | None = None
    repository_prefix: str = ""
    tag_validity_seconds: int = 300
    stale_policy: StalePolicy = "on_unavailable"
    token_realm: str | None = None
    private_ca: str | None = None
    enabled: bool = True
    cache_epoch: int = 0
    probe: str = ""


def key_of(upstream_id: str) -> str:
    """Return the record's key."""
    return f"upstream.{upstream_id}"
