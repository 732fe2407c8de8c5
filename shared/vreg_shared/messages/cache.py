"""The api asks all proxies what their caches hold and did, and has things removed: `vreg.proxy.cache.*`.

Of all worker processes that share a cache folder one answers, and every reply names the folder. Positions
sort alike everywhere, so pages of several folders are merged by asking each for what follows the same one.
"""

from typing import Annotated, Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

LIST_SUBJECT: Final = "vreg.proxy.cache.list"
REMOVE_SUBJECT: Final = "vreg.proxy.cache.remove"
STATISTICS_SUBJECT: Final = "vreg.proxy.cache.statistics"
DEADLINE_SECONDS: Final = 5.0
QUIET_SECONDS: Final = 1.0
"""Nobody knows how many will answer: this long after the last one, no other is waited for."""
MOST_LISTED: Final = 200
MOST_TAGS: Final = 20
"""Tags told of one entry; with as many entries as a page may have, a reply stays below the bus's limit."""
_DIGEST: Final = r"^(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$"
_FROZEN: Final = ConfigDict(frozen=True, extra="ignore")


class CacheSelection(BaseModel):
    """Which entries are meant; what is left out means any. A repository is spelled as the upstream does."""

    model_config = _FROZEN

    upstream_id: str
    repository: str | None = None
    digest: Annotated[str | None, Field(pattern=_DIGEST)] = None


class CachePosition(BaseModel):
    """An entry's place in the order of the list; it is the cursor too."""

    model_config = _FROZEN

    upstream_id: str
    repository: str
    digest: str
    kind: str


class CacheListRequest(BaseModel):
    """Asks for entries behind `after`, or from the beginning."""

    model_config = _FROZEN

    selection: CacheSelection | None = None
    after: CachePosition | None = None
    limit: Annotated[int, Field(ge=1, le=MOST_LISTED)] = 100


class CacheEntry(BaseModel):
    """A thing that a repository of an upstream gave. `last_used` None: the bytes made room for others."""

    model_config = _FROZEN

    position: CachePosition
    media_type: str
    size: int
    last_used: AwareDatetime | None
    tags: tuple[str, ...]


class CacheListReply(BaseModel):
    """A page of one folder; fewer than asked for means the end."""

    model_config = _FROZEN

    folder: str
    entries: tuple[CacheEntry, ...]


class CacheRemoveRequest(BaseModel):
    """Has rights and tags removed, and bytes that nobody else has a right to."""

    model_config = _FROZEN

    selection: CacheSelection


class CacheRemoveReply(BaseModel):
    """How many entries went in one folder, and how many bytes with them."""

    model_config = _FROZEN

    folder: str
    entries: int
    bytes: int


class ServedCount(BaseModel):
    """Complete answers of one class to clients of one registry, from one upstream's things."""

    model_config = _FROZEN

    registry_id: str
    upstream_id: str
    hit: Literal["memory", "disk", "joined", "filled", "revalidated", "stale", "passed"]
    answers: int
    bytes: int


class HeldContent(BaseModel):
    """What is on disk by right of one upstream."""

    model_config = _FROZEN

    entries: int
    bytes: int


class CacheStatisticsReply(BaseModel):
    """Counts of all workers of one folder since it was made; maps are by upstream."""

    model_config = _FROZEN

    folder: str
    served: tuple[ServedCount, ...]
    fetched_bytes: dict[str, int]
    held: dict[str, HeldContent]
    entries: int
    bytes: int
    evicted_entries: int
    evicted_bytes: int
    quarantined: int
