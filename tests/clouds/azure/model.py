"""What exists in the emulated Azure: tenants, applications, identities, registries and roles."""

import re
import secrets
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TypeVar
from uuid import uuid4

from tests.clouds.azure.places import REGISTRY_DOMAINS
from tests.clouds.shelf import Shelf

T = TypeVar("T")
REGISTRY_ROLES = frozenset({"AcrPull", "AcrPush", "Reader", "Contributor", "Owner"})
"""Roles that may pull from a registry without repository permissions."""
REPOSITORY_READER = "Container Registry Repository Reader"
CATALOG_LISTER = "Container Registry Repository Catalog Lister"
PULL, METADATA, CATALOG = "pull", "metadata_read", "*"


class UnknownThingError(LookupError):
    """A control named something that does not exist."""


@dataclass
class Tenant:
    """A directory."""

    id: str
    domain: str
    cloud: str


@dataclass(frozen=True, slots=True)
class Federation:
    """A federated credential: all three must be equal, with case."""

    issuer: str
    subject: str
    audience: str
    works_from: float


@dataclass
class Identity:
    """An application, or a user-assigned or system-assigned managed identity (`resource_id`)."""

    client_id: str
    name: str
    home: str
    is_multi_tenant: bool = False
    resource_id: str | None = None
    secrets: dict[str, float] = field(default_factory=dict)
    """Values and when they end."""
    certificates: list[str] = field(default_factory=list)
    federations: list[Federation] = field(default_factory=list)
    principals: dict[str, str] = field(default_factory=dict)
    """Object id of the service principal in each tenant."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """A role on a registry; `repositories` are globs of a condition, which only ABAC has."""

    object_id: str
    role: str
    repositories: tuple[str, ...] = ("*",)

    def actions(self, repository: str, *, is_abac: bool) -> frozenset[str]:
        """Return what it permits on a repository; conditions ignore case."""
        if not is_abac:
            return frozenset({PULL, METADATA}) if self.role in REGISTRY_ROLES else frozenset()
        is_named = any(fnmatchcase(repository.lower(), each.lower()) for each in self.repositories)
        return frozenset({PULL, METADATA}) if self.role == REPOSITORY_READER and is_named else frozenset()


@dataclass
class ScopeMapToken:
    """A user of the registry's own, with actions on named repositories."""

    password: str
    repositories: dict[str, tuple[str, ...]]
    is_enabled: bool = True


@dataclass
class Registry:
    """`host` is the login server. Switches are those of the product itself."""

    name: str
    host: str
    cloud: str
    tenant: str
    is_abac: bool = False
    allows_anonymous: bool = False
    allows_arm_tokens: bool = True
    """`azureADAuthenticationAsArmPolicy`: enabled unless hardened."""
    blocked_address: str | None = None
    """What the firewall says it blocks; None lets everybody in."""
    has_data_endpoint: bool = False
    admin_password: str | None = None
    assignments: list[Assignment] = field(default_factory=list)
    tokens: dict[str, ScopeMapToken] = field(default_factory=dict)
    denied: set[tuple[str, str]] = field(default_factory=set)
    """Object id and repository."""
    shelves: dict[str, Shelf] = field(default_factory=dict)
    storage: str = field(default_factory=lambda: f"eusmanaged{secrets.randbelow(900) + 100}")
    regid: str = field(default_factory=lambda: uuid4().hex)

    @property
    def storage_host(self) -> str:
        """Where blobs are."""
        if self.has_data_endpoint:
            label, _, domain = self.host.partition(".")
            return f"{label}.eastus.data.{domain}"
        domain = {"public": "windows.net", "us_gov": "usgovcloudapi.net", "china": "chinacloudapi.cn"}
        return f"{self.storage}.blob.core.{domain[self.cloud]}"

    def has_role(self, object_id: str) -> bool:
        """Whether somebody has any role here that counts on the data plane."""
        counting = {REPOSITORY_READER, CATALOG_LISTER} if self.is_abac else REGISTRY_ROLES
        return any(each.object_id == object_id and each.role in counting for each in self.assignments)

    def actions(self, object_id: str, repository: str) -> frozenset[str]:
        """Return what somebody may do to a repository."""
        if (object_id, repository) in self.denied:
            return frozenset()
        mine = [each for each in self.assignments if each.object_id == object_id]
        return frozenset().union(*(each.actions(repository, is_abac=self.is_abac) for each in mine))

    def may_list(self, object_id: str) -> bool:
        """Whether somebody may list the catalogue."""
        roles = {each.role for each in self.assignments if each.object_id == object_id}
        return CATALOG_LISTER in roles if self.is_abac else bool(roles & REGISTRY_ROLES)


class AzureModel:
    """It knows nothing of wires."""

    def __init__(self) -> None:
        self.tenants: dict[str, Tenant] = {}
        self.identities: dict[str, Identity] = {}
        self.registries: dict[str, Registry] = {}
        self.machines: dict[str, list[str]] = {}
        """Client ids of the identities that a machine has, system-assigned first; by local service."""

    def tenant_named(self, name: str, cloud: str) -> Tenant | None:
        """Return a tenant by id or domain, ignoring case, in its own cloud."""
        lowered = name.lower()
        return next(
            (
                each
                for each in self.tenants.values()
                if lowered in {each.id, each.domain} and each.cloud == cloud
            ),
            None,
        )

    def add_identity(self, name: str, tenant: str, **sides: object) -> Identity:
        """Make an application or managed identity with its principal at home."""
        identity = Identity(str(uuid4()), name, self.require_tenant(tenant).id, **sides)  # type: ignore[arg-type]  # named sides
        identity.principals[identity.home] = str(uuid4())
        self.identities[identity.client_id] = identity
        return identity

    def add_registry(self, name: str, tenant: str, label_hash: str | None) -> Registry:
        """Make a registry in a tenant's cloud."""
        if re.fullmatch(r"[a-z0-9]{5,50}", name) is None:
            raise ValueError("a registry's name is 5 to 50 lower-case letters and digits")
        owner = self.require_tenant(tenant)
        label = name if label_hash is None else f"{name}-{label_hash}"
        host = f"{label}.{REGISTRY_DOMAINS[owner.cloud]}"
        return self.registries.setdefault(host, Registry(name, host, owner.cloud, owner.id))

    def require_tenant(self, tenant: str) -> Tenant:
        """Return a tenant by id; raise UnknownThingError."""
        return _required(self.tenants, tenant, "tenant")

    def identity(self, client_id: str) -> Identity:
        """Return an application or managed identity; raise UnknownThingError."""
        return _required(self.identities, client_id, "identity")

    def registry(self, host: str) -> Registry:
        """Return a registry; raise UnknownThingError."""
        return _required(self.registries, host, "registry")


def _required(known: dict[str, T], name: str, what: str) -> T:
    try:
        return known[name]
    except KeyError:
        raise UnknownThingError(f"there is no {what} {name}") from None
