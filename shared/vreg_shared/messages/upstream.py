"""An upstream, as the api tells brokers and proxies of it: `vreg_config`, key `upstream.<id>`."""

from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, model_validator

BUCKET: Final = "vreg_config"
KEY_FILTER: Final = "upstream.*"
StaleCase = Literal["network", "server_error", "throttled", "auth", "deleted"]
"""Why an upstream did not confirm what it gave us before.

`network`: no answer, or IAM cannot be asked for a credential; `server_error`: 5xx, or an answer that is none;
`throttled`: 429; `auth`: our credential is refused; `deleted`: it says that what we have is gone.
"""
STALE_CASES: Final[tuple[StaleCase, ...]] = ("network", "server_error", "throttled", "auth", "deleted")
UNANSWERED: Final[tuple[StaleCase, ...]] = ("network", "server_error", "throttled")
"""The cases that say nothing about the thing itself."""
_BY_OLD_POLICY: Final[dict[str, tuple[StaleCase, ...]]] = {
    "never": (),
    "on_unavailable": UNANSWERED,
    "always": (*UNANSWERED, "auth"),
}


class UpstreamRecord(BaseModel):
    """One remote registry we may pull from.

    `tag_validity_seconds` is how long a resolved tag is trusted. After that an older copy is served in the
    cases of `stale_for` alone, and not once it went unconfirmed for `max_stale_seconds`; None is for ever.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    name: str
    kind: str
    host: str
    identity_id: str | None = None
    repository_prefix: str = ""
    tag_validity_seconds: int = 300
    stale_for: tuple[StaleCase, ...] = UNANSWERED
    max_stale_seconds: int | None = None
    token_realm: str | None = None
    private_ca: str | None = None
    enabled: bool = True
    cache_epoch: int = 0
    probe: str = ""

    @model_validator(mode="before")
    @classmethod
    def _of_an_older_api(cls, record: Any) -> Any:  # noqa: ANN401 - whatever was on the bus
        """Read the one word that `stale_for` was before, as the database's migration does."""
        if isinstance(record, dict) and "stale_policy" in record and "stale_for" not in record:
            policy = str(record["stale_policy"])
            return record | {"stale_for": _BY_OLD_POLICY.get(policy, policy)}
        return record


def key_of(upstream_id: str) -> str:
    """Return the record's key."""
    return f"upstream.{upstream_id}"
