"""A virtual registry, as the api tells brokers and proxies of it: `vreg_config`, key `registry.<id>`."""

from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

BUCKET: Final = "vreg_config"
KEY_FILTER: Final = "registry.*"
OnSourceChange = Literal["allow", "block"]


class MembershipRecord(BaseModel):
    """An upstream's place in a registry. An empty `allow` allows every repository; `deny` wins."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    upstream_id: str
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    on_hidden: Literal["stop", "continue"] = "stop"


class RegistryRecord(BaseModel):
    """A named, ordered list of upstreams served as one registry; `slug` is the first path segment.

    `on_source_change` is what follows when a repository would come from another upstream than so far.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    slug: str
    description: str = ""
    anonymous_pull: bool = False
    on_source_change: OnSourceChange = "allow"
    memberships: tuple[MembershipRecord, ...] = ()
    mirror_namespaces: tuple[str, ...] = ()
    """Hosts of registries whose names are looked up here when a client says `ns`, as `docker.io`."""


def key_of(registry_id: str) -> str:
    """Return the record's key."""
    return f"registry.{registry_id}"
