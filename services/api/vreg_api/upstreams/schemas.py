"""What goes in and out of `/upstreams`."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool, StringConstraints

from vreg_api.fields import Description, Identifier, Name, may_be_left_out
from vreg_api.upstreams.certificates import parsed_certificates
from vreg_shared.catalogue import catalogue
from vreg_shared.messages.upstream import STALE_CASES, UNANSWERED, StaleCase
from vreg_shared.oci.reference import InvalidNameError, RepositoryName
from vreg_shared.probe import probe_text
from vreg_shared.rate_limit import RateLimitSource

_EXAMPLE_IDENTITY = "01KAS1G6V5X4T3NQ7R8M2C9B0Z"


def _kind(name: str) -> str:
    if name not in _kinds():
        message = f"must be one of {', '.join(_kinds())}"
        raise ValueError(message)
    return name


def _kinds() -> list[str]:
    return [kind.name for kind in catalogue().kinds()]


def _prefix(text: str) -> str:
    trimmed = text.strip("/")
    try:
        return RepositoryName.parse(trimmed).value if trimmed else ""
    except InvalidNameError as error:
        raise ValueError(str(error)) from error


def _each_once(cases: tuple[StaleCase, ...]) -> tuple[StaleCase, ...]:
    """Return the cases in our own order, so that one policy has one spelling."""
    return tuple(case for case in STALE_CASES if case in cases)


def _list_kinds(schema: dict[str, Any]) -> None:
    schema["enum"] = _kinds()


Kind = Annotated[
    str,
    AfterValidator(_kind),
    Field(
        title="Kind",
        description="What sort of registry it is.",
        examples=["ecr"],
        json_schema_extra=_list_kinds,
    ),
]
Host = Annotated[
    str,
    StringConstraints(min_length=1, max_length=253),
    Field(
        title="Host",
        description="The registry's DNS name, with port if any; never a URL.",
        examples=["123456789012.dkr.ecr.eu-west-1.amazonaws.com"],
    ),
]
RepositoryPrefix = Annotated[
    str,
    StringConstraints(max_length=255),
    AfterValidator(_prefix),
    Field(
        title="Repository prefix",
        description="Put before every repository's name when asking the upstream.",
        examples=["team-a"],
    ),
]
TagValidity = Annotated[
    int,
    Field(
        title="Tag validity (seconds)",
        description="How long a resolved tag is trusted; 0 asks the upstream each time.",
        ge=0,
        le=365 * 24 * 3600,
        strict=True,
    ),
]
StaleFor = Annotated[
    tuple[StaleCase, ...],
    AfterValidator(_each_once),
    Field(
        title="Serve stale for",
        description="When a tag's older copy may be served, although its validity has passed: `network`, the "
        "upstream does not answer; `server_error`, it answers 5xx or nonsense; `throttled`, it answers 429; "
        "`auth`, it refuses our credential; `deleted`, it says that the tag is gone.",
        examples=[list(UNANSWERED)],
    ),
]
MaxStale = Annotated[
    int,
    Field(
        title="Longest staleness (seconds)",
        description="An older copy is not served once its upstream has not confirmed it for so long; null "
        "means that it is for ever.",
        ge=0,
        le=10 * 365 * 24 * 3600,
        strict=True,
        examples=[86400],
    ),
]
TokenRealm = Annotated[
    str,
    StringConstraints(max_length=512),
    Field(
        title="Token realm",
        description="The token endpoint, where it is not on the registry's own host. The identity's password "
        "is sent there, so `usable_for` must name its host.",
        examples=["https://auth.example.com/token"],
    ),
]
PrivateCa = Annotated[
    str,
    StringConstraints(max_length=64 * 1024),
    AfterValidator(parsed_certificates),
    Field(
        title="Private CA", description="Certificates (PEM) of the authority the host's certificate is of."
    ),
]
Probe = Annotated[
    str,
    StringConstraints(max_length=400),
    AfterValidator(probe_text),
    Field(
        title="Probe",
        description="An image that exists, without the repository prefix: what a connection test pulls. "
        "Without a tag, one is chosen.",
        examples=["team/app:1.2"],
    ),
]
IdentityId = Annotated[
    Identifier, Field(title="Identity", description="Left out or null: anonymous, where the kind allows it.")
]


class UpstreamCreate(BaseModel):
    """One remote registry we may pull from."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        json_schema_extra={
            "examples": [
                {
                    "name": "production-ecr",
                    "kind": "ecr",
                    "host": "123456789012.dkr.ecr.eu-west-1.amazonaws.com",
                    "identity_id": _EXAMPLE_IDENTITY,
                },
                {"name": "docker-hub", "kind": "oci", "host": "registry-1.docker.io"},
            ]
        },
    )

    name: Name
    description: Description = ""
    kind: Kind
    host: Host
    identity_id: IdentityId | None = None
    repository_prefix: RepositoryPrefix = ""
    tag_validity_seconds: TagValidity = 300
    stale_for: StaleFor = UNANSWERED
    max_stale_seconds: MaxStale | None = None
    token_realm: TokenRealm | None = None
    private_ca: PrivateCa | None = None
    enabled: Annotated[StrictBool, Field(description="A disabled upstream is never asked.")] = True
    probe: Probe = ""


class UpstreamChange(BaseModel):
    """What to change. A change of where content comes from ends the trust in what is cached."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    name: Name = may_be_left_out()
    description: Description = may_be_left_out()
    kind: Kind = may_be_left_out()
    host: Host = may_be_left_out()
    identity_id: IdentityId | None = may_be_left_out()
    repository_prefix: RepositoryPrefix = may_be_left_out()
    tag_validity_seconds: TagValidity = may_be_left_out()
    stale_for: StaleFor = may_be_left_out()
    max_stale_seconds: MaxStale | None = may_be_left_out()
    token_realm: TokenRealm | None = may_be_left_out()
    private_ca: PrivateCa | None = may_be_left_out()
    enabled: StrictBool = may_be_left_out()
    probe: Probe = may_be_left_out()


class UpstreamView(BaseModel):
    """An upstream."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    id: str
    name: str
    description: str
    kind: str
    host: str
    identity_id: str | None
    repository_prefix: str
    tag_validity_seconds: int
    stale_for: tuple[StaleCase, ...]
    max_stale_seconds: int | None
    token_realm: str | None
    private_ca: str | None
    enabled: bool
    probe: str
    cache_epoch: Annotated[int, Field(description="Cached content of another epoch is not served.")]
    version: int
    created_at: datetime
    updated_at: datetime


class RateLimitView(BaseModel):
    """What an upstream last said of its rate limit; all is null while it has said nothing."""

    model_config = ConfigDict(frozen=True)

    limit: Annotated[int | None, Field(description="How much a window holds.", examples=[100])] = None
    remaining: Annotated[
        int | None,
        Field(description="How much is left, by the tightest account of all proxies.", examples=[76]),
    ] = None
    window_seconds: Annotated[int | None, Field(examples=[21600])] = None
    source: Annotated[
        RateLimitSource | None, Field(description="Whether the upstream counts by account or by address.")
    ] = None
    observed_at: Annotated[datetime | None, Field(description="When the upstream said so.")] = None
    proxy_processes: Annotated[
        int, Field(description="How many processes of proxies answered; who was slow is not among them.")
    ]
