"""What goes in and out of `/virtual_registries`."""

import re
from datetime import datetime
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool, StringConstraints

from vreg_api.fields import Description, Identifier, may_be_left_out
from vreg_shared.messages.registry import OnSourceChange

_SLUG: Final = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*", re.ASCII)
_PATTERN: Final = re.compile(r"[a-z0-9._/*?-]+", re.ASCII)
RESERVED_SLUGS: Final = frozenset(
    {"v1", "v2", "token", "api", "livez", "readyz", "healthz", "metrics", "ui", "blobs", "manifests", "tags"}
    | {"referrers", "uploads"}
)
_MAX_MEMBERSHIPS: Final = 100
_MAX_PATTERNS: Final = 100
_MAX_NAMESPACES: Final = 20
_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_NAMESPACE: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*(?::[1-9][0-9]{{0,4}})?", re.ASCII)


def _slug(text: str) -> str:
    if _SLUG.fullmatch(text) is None:
        message = "must be lower-case letters and digits, joined by '.', '_' or '-', as in an image's name"
        raise ValueError(message)
    if text in RESERVED_SLUGS:
        message = "is reserved: it has a meaning in the addresses of a registry"
        raise ValueError(message)
    return text


def _pattern(text: str) -> str:
    if _PATTERN.fullmatch(text) is None:
        message = "is a repository's name in lower case, with * for anything and ? for one character"
        raise ValueError(message)
    return text


def _namespace(text: str) -> str:
    if _NAMESPACE.fullmatch(text) is None:
        message = "is the host of a registry in lower case, as docker.io, with a port if it has one"
        raise ValueError(message)
    return text


def _sorted_once(namespaces: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted(set(namespaces)))


def _no_duplicates(memberships: tuple["Membership", ...]) -> tuple["Membership", ...]:
    ids = [membership.upstream_id for membership in memberships]
    if len(set(ids)) != len(ids):
        message = "an upstream can be in a registry only once"
        raise ValueError(message)
    return memberships


Slug = Annotated[
    str,
    StringConstraints(min_length=1, max_length=64),
    AfterValidator(_slug),
    Field(title="Slug", description="The first part of every image's name.", examples=["team"]),
]
Patterns = Annotated[
    tuple[Annotated[str, StringConstraints(min_length=1, max_length=255), AfterValidator(_pattern)], ...],
    Field(max_length=_MAX_PATTERNS, examples=[["team-a/*"]]),
]


class Membership(BaseModel):
    """An upstream's place in a registry."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, from_attributes=True)

    upstream_id: Identifier
    allow: Annotated[
        Patterns, Field(description="Repositories that may be asked for here; none means all.")
    ] = ()
    deny: Annotated[Patterns, Field(description="Repositories that may not; it wins over allow.")] = ()
    on_hidden: Annotated[
        Literal["stop", "continue"],
        Field(description="What follows when the upstream may be hiding that it has the repository."),
    ] = "stop"


Memberships = Annotated[
    tuple[Membership, ...],
    AfterValidator(_no_duplicates),
    Field(
        title="Memberships",
        description="The upstreams in the order they are asked; given as a whole.",
        max_length=_MAX_MEMBERSHIPS,
    ),
]

SourceChange = Annotated[
    OnSourceChange,
    Field(
        title="On a change of source",
        description="What follows when a repository would come from another upstream than so far: `allow` "
        "serves it, `block` answers 403 until somebody decides. Both are audited.",
    ),
]


MirrorNamespaces = Annotated[
    tuple[Annotated[str, StringConstraints(min_length=1, max_length=255), AfterValidator(_namespace)], ...],
    AfterValidator(_sorted_once),
    Field(
        title="Mirror namespaces",
        description="Registries this one stands in for: clients that use vreg as a mirror name them.",
        max_length=_MAX_NAMESPACES,
        examples=[["docker.io"]],
    ),
]


class VirtualRegistryCreate(BaseModel):
    """A named, ordered list of upstreams that clients see as one registry."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        json_schema_extra={
            "examples": [
                {
                    "slug": "team",
                    "description": "Everything the team pulls",
                    "memberships": [
                        {"upstream_id": "01KAS1G6V5X4T3NQ7R8M2C9B0Z", "allow": ["team-a/*"]},
                        {"upstream_id": "01KAS1G6V5X4T3NQ7R8M2C9B11", "on_hidden": "continue"},
                    ],
                }
            ]
        },
    )

    slug: Slug
    description: Description = ""
    anonymous_pull: Annotated[
        StrictBool, Field(description="Whether anybody who reaches the proxy may pull.")
    ] = False
    on_source_change: SourceChange = "allow"
    memberships: Memberships = ()
    mirror_namespaces: MirrorNamespaces = ()


class VirtualRegistryChange(BaseModel):
    """What to change; memberships are given as a whole."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    slug: Slug = may_be_left_out()
    description: Description = may_be_left_out()
    anonymous_pull: StrictBool = may_be_left_out()
    on_source_change: SourceChange = may_be_left_out()
    memberships: Memberships = may_be_left_out()
    mirror_namespaces: MirrorNamespaces = may_be_left_out()


class VirtualRegistryView(BaseModel):
    """A virtual registry."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    id: str
    slug: str
    description: str
    anonymous_pull: bool
    on_source_change: OnSourceChange
    memberships: tuple[Membership, ...]
    mirror_namespaces: tuple[str, ...]
    version: int
    created_at: datetime
    updated_at: datetime
