"""A connection test: the api asks a broker, who asks a proxy for what only a proxy's network can tell.

`vreg.broker.test` and `vreg.proxy.test` are conversations: a report for each stage as it ends.
"""

from enum import StrEnum
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from vreg_shared.messages.identity import IdentityRecord
from vreg_shared.messages.lease import LeaseRecord
from vreg_shared.messages.upstream import UpstreamRecord

SUBJECT: Final = "vreg.broker.test"
PROXY_SUBJECT: Final = "vreg.proxy.test"
DEADLINE_SECONDS: Final = 90.0
"""For the whole test; every stage has a shorter one of its own."""
REACH_SECONDS: Final = 25.0
PULL_SECONDS: Final = 45.0


class Stage(StrEnum):
    """What is tried, in the order it is tried; STAGE_MEANINGS says what each is."""

    ADDRESS = "address"
    DNS = "dns"
    TLS = "tls"
    IDENTITY = "identity"
    EXCHANGE = "exchange"
    CREDENTIAL = "credential"
    REGISTRY = "registry"
    TAGS = "tags"
    MANIFEST = "manifest"
    BLOB = "blob"


STAGE_MEANINGS: Final = {
    Stage.ADDRESS: "The egress rules let a proxy connect to the host.",
    Stage.DNS: "The host's name resolves where the proxy runs.",
    Stage.TLS: "A connection is made, its certificate is trusted, and something answers.",
    Stage.IDENTITY: "The identity is whole, permitted by the operator, and usable for this upstream.",
    Stage.EXCHANGE: "The cloud's IAM gives an access token.",
    Stage.CREDENTIAL: "The access token gives what the registry is shown.",
    Stage.REGISTRY: "`/v2/` takes it.",
    Stage.MANIFEST: "The probe's manifest is read.",
    Stage.BLOB: "The first bytes of a blob come, through the redirect to storage if there is one.",
    Stage.TAGS: "Tags can be listed. Pulls do without, so where the probe names a tag this only warns.",
}
REACH: Final = (Stage.ADDRESS, Stage.DNS, Stage.TLS)
CLIMB: Final = (Stage.IDENTITY, Stage.EXCHANGE, Stage.CREDENTIAL)
PULL: Final = (Stage.REGISTRY, Stage.MANIFEST, Stage.BLOB, Stage.TAGS)
StageOutcome = Literal["passed", "failed", "skipped", "warned"]
"""*warned*: it failed, and pulls do without it."""


class Probe(BaseModel):
    """What is pulled to prove that something can be. Without a reference, a tag is chosen."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    repository: str
    """Without the upstream's prefix."""
    reference: str | None = None


class StageReport(BaseModel):
    """How a stage ended. `reason` is a stable code; `detail` may quote the provider, without secrets.

    `facts` are what was learnt, by short names: addresses, principal, not_after, digest …
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    stage: Stage
    outcome: StageOutcome
    reason: str = ""
    detail: str = ""
    remedy: str = ""
    answer: str = ""
    """What the upstream's answer means for a walk, where one came: `hidden`, `absent` …"""
    seconds: float = 0.0
    facts: dict[str, str] = Field(default_factory=dict)


class ConnectionOrder(BaseModel):
    """What the api wants tested, saved or not: secrets in it are sealed to the broker."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    test_id: str
    upstream: UpstreamRecord
    identity: IdentityRecord | None = None
    probe: Probe | None = None


class ProxyOrder(BaseModel):
    """What the broker wants of a proxy: to *reach* the host without a credential, or to *pull* with one."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    test_id: str
    part: Literal["reach", "pull"]
    upstream: UpstreamRecord
    lease: LeaseRecord | None = None
    probe: Probe | None = None
