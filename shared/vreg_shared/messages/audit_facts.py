"""What each kind of audit event says: one model a kind, and with it the catalogue of what is recorded.

A reader must expect fields it does not know: a newer writer may say more.
"""

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from vreg_shared.key_files import Service

Hosts = Annotated[tuple[str, ...], Field(description="Registry hosts it is about.")]


class Place(BaseModel):
    """Where an event stands among its writer's own, so that a missing one is noticed."""

    model_config = ConfigDict(frozen=True)

    sequence: int = Field(description="Counts the events of one writer, from 1.")
    previous: str = Field(description="SHA-256 of the line before it in the writer's journal.")


class Facts(BaseModel):
    """The `data` of an event. `kind` is its type without `vreg.`, `about` what its subject names."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: ClassVar[str]
    writer: ClassVar[Service]
    about: ClassVar[str]

    def told(self) -> dict[str, Any]:
        """Return JSON values: what was given, and nothing that was not."""
        return self.model_dump(mode="json", exclude_unset=True)


class Journalled(Facts):
    """An event of a token-broker, which numbers them in its journal."""

    writer: ClassVar[Service] = Service.TOKEN_BROKER
    journal: Place | None = None


class _Exchange(Journalled):
    about: ClassVar[str] = "identity id"

    scope: str = Field(description="The lease scope: everything one lease serves.")
    hosts: Hosts
    repositories: tuple[str, ...] = Field(description="Prefixes the lease is limited to; none means all.")
    identity_id: str
    identity_name: str
    method: str = Field(description="The auth method.")
    credential_version: int
    trigger: str = Field(description="What the exchange was made for.")


class ExchangeIntent(_Exchange):
    """A cloud is about to be asked; on disk before it is."""

    kind: ClassVar[str] = "exchange.intent"

    provider: str
    exchange_id: str = Field(description="The same in the outcome.")


class ExchangeOutcome(ExchangeIntent):
    """What came of asking a cloud; on disk before anybody uses it."""

    kind: ClassVar[str] = "exchange.outcome"

    outcome: Literal["issued", "refused", "unavailable", "unknown"] = Field(
        description="issued; refused: a person must act; unavailable: it is tried again; "
        "unknown: the broker ended before it heard."
    )
    provider_request_ids: tuple[str, ...] = Field(default=(), description="The cloud's names for our calls.")
    latency_ms: int | None = None
    principal: str | None = Field(default=None, description="Who the cloud says we were.")
    issued_at: datetime | None = None
    not_after: datetime | None = Field(default=None, description="When the credential ends; null for never.")
    token_fingerprint: str | None = Field(
        default=None, description="HMAC-SHA256 of the credential, 128 bits: equal for equal credentials."
    )
    reason: str | None = Field(default=None, description="A stable code.")
    detail: str | None = Field(default=None, description="The cloud's own words, without secrets.")
    remedy: str | None = None
    retry_after: float | None = Field(default=None, description="Seconds.")


class ExchangeLateOutcome(ExchangeOutcome):
    """What a cloud answered after our deadline; nobody uses it."""

    kind: ClassVar[str] = "exchange.late_outcome"


class ExchangeRefused(Journalled):
    """No cloud was asked: what is configured, or the operator, does not allow it."""

    kind: ClassVar[str] = "exchange.refused"
    about: ClassVar[str] = "identity id, or upstream id where it has none"

    outcome: Literal["refused"]
    reason: str
    detail: str
    remedy: str
    hosts: Hosts
    identity_id: str | None
    identity_name: str | None = None
    upstream_id: str | None = None
    upstream_name: str | None = None
    scope: str | None = None
    repositories: tuple[str, ...] | None = None
    method: str | None = None
    credential_version: int | None = None
    trigger: str | None = None


class LeaseWithdrawn(Journalled):
    """Nobody needs a lease any more, so it was taken back."""

    kind: ClassVar[str] = "lease.withdrawn"
    about: ClassVar[str] = "identity id"

    scope: str
    hosts: Hosts
    identity_name: str


class Who(BaseModel):
    """Whoever made a change."""

    model_config = ConfigDict(frozen=True)

    access_id: str = Field(description="The access token's id; `bootstrap` and `vreg` are vreg itself.")
    name: str


class FieldChange(BaseModel):
    """One field before and after. Of a secret it says only that there is another one."""

    model_config = ConfigDict(frozen=True)

    field: str
    before: JsonValue = None
    after: JsonValue = None
    is_secret: bool = False


class _ConfigurationChange(Facts):
    writer: ClassVar[Service] = Service.API
    about: ClassVar[str] = "the record's key, as upstream.<id>"

    actor: Who
    noun: str
    name: str
    version: int
    fields: tuple[str, ...] = Field(description="The names of what changed.")
    changes: tuple[FieldChange, ...] = ()


class ConfigCreated(_ConfigurationChange):
    """Something was configured."""

    kind: ClassVar[str] = "config.created"


class ConfigChanged(_ConfigurationChange):
    """Something was configured differently."""

    kind: ClassVar[str] = "config.changed"


class ConfigDeleted(_ConfigurationChange):
    """Something was removed from the configuration."""

    kind: ClassVar[str] = "config.deleted"


class HealthChanged(Journalled):
    """An upstream came into another state of health, or the same for another reason."""

    kind: ClassVar[str] = "health.changed"
    about: ClassVar[str] = "upstream id"

    upstream_id: str
    upstream_name: str
    identity_id: str | None = None
    host: str
    state: str = Field(description="healthy, degraded, auth_failed, unreachable or unknown.")
    was: str = Field(description="The state before.")
    reason: str = Field(description="A stable code; empty when healthy.")
    detail: str = Field(description="The provider's own words.")
    remedy: str
    breaks_at: datetime | None = Field(
        default=None, description="When pulls of what is not cached will fail if nothing changes."
    )


class ConfigPurged(_ConfigurationChange):
    """What an upstream gave so far is not served from the cache any more."""

    kind: ClassVar[str] = "config.purged"


class AccessRefused(Facts):
    """Requests to the API were refused for who sent them: the first is told at once, others are counted."""

    kind: ClassVar[str] = "access.refused"
    writer: ClassVar[Service] = Service.API
    about: ClassVar[str] = "id of the access token it named, proved or not, or nobody"

    outcome: Literal["refused"]
    reason: str = Field(
        description="unauthenticated, invalid_token, forbidden, too_many_failures, or too many to tell apart."
    )
    access_id: str | None = Field(default=None, description="The access token's id, if one was named.")
    client: str = Field(description="The address it came from, as far as we see.")
    http_method: str
    path: str = Field(description="Of the last of them, without query.")
    count: int = Field(ge=1, description="How many requests this event stands for.")
    first_at: datetime
    last_at: datetime


class Named(BaseModel):
    """Something of the configuration, by its id, and by its name where that is known."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    name: str | None = None
    slug: str | None = None


class SourceChanged(Facts):
    """A repository's tags came from another upstream of its virtual registry than so far, or would have."""

    kind: ClassVar[str] = "pull.source_changed"
    writer: ClassVar[Service] = Service.PROXY
    about: ClassVar[str] = "key of the virtual registry"
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    registry: Named
    repository: str
    tag: str
    from_: Named = Field(alias="from", description="The upstream it came from so far.")
    to: Named = Field(description="The upstream that gave it now.")
    outcome: Literal["allowed", "blocked"]

    def told(self) -> dict[str, Any]:
        """Return JSON values under the names that events have."""
        return self.model_dump(mode="json", exclude_unset=True, by_alias=True)


class AuditPruned(Facts):
    """The archive let go of its oldest events, as its retention has it. The chain goes on from here."""

    kind: ClassVar[str] = "audit.pruned"
    writer: ClassVar[Service] = Service.API
    about: ClassVar[str] = "archive"

    until_sequence: int = Field(description="The last event that is gone.")
    until_hash: str
    events: int = Field(description="How many went this time.")


CATALOGUE: Final[tuple[type[Facts], ...]] = (
    ExchangeIntent,
    ExchangeOutcome,
    ExchangeLateOutcome,
    ExchangeRefused,
    LeaseWithdrawn,
    ConfigCreated,
    ConfigChanged,
    ConfigDeleted,
    ConfigPurged,
    AccessRefused,
    SourceChanged,
    HealthChanged,
    AuditPruned,
)
KINDS: Final[Mapping[str, type[Facts]]] = MappingProxyType({each.kind: each for each in CATALOGUE})
