"""The emulated Google Cloud: service accounts with keys, workload identity pools, repositories, grants."""

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from tests.clouds.gcp.tokens import Principal
from tests.clouds.shelf import Shelf

ANYBODY = "allUsers"
ANYBODY_KNOWN = "allAuthenticatedUsers"


class UnknownThingError(LookupError):
    """A control named something that does not exist."""


@dataclass
class Account:
    """A service account. `actors` are the members that may make tokens of it."""

    email: str
    keys: dict[str, RSAPublicKey] = field(default_factory=dict)
    disabled_keys: set[str] = field(default_factory=set)
    actors: set[str] = field(default_factory=set)
    longest_seconds: int = 3600
    """43200 where the organisation's policy extends it."""

    def key(self, key_id: str) -> RSAPublicKey | None:
        """Return the public half of a key that is in use."""
        return None if key_id in self.disabled_keys else self.keys.get(key_id)


@dataclass
class PoolProvider:
    """A provider of a workload identity pool: an issuer of tokens, or an AWS account."""

    name: str
    """`//iam.googleapis.com/projects/<number>/locations/global/workloadIdentityPools/<pool>/providers/<id>`"""
    issuer: str = ""
    aws_account: str = ""
    audiences: tuple[str, ...] = ()
    subjects: str = "*"
    """The attribute condition, as a glob that the subject must match."""
    keys: Mapping[str, object] | None = None
    """Of a provider whose JWKS was uploaded: the issuer is then never asked."""
    is_enabled: bool = True

    @property
    def pool(self) -> str:
        """The pool's name, as principals begin."""
        return self.name.removeprefix("//").rpartition("/providers/")[0]

    def takes(self, audience: str) -> bool:
        """Whether a token for this audience is meant for the provider."""
        return audience in (self.audiences or (f"https:{self.name}", self.name))

    def permits(self, subject: str) -> bool:
        """Whether the attribute condition holds."""
        return fnmatchcase(subject, self.subjects)

    def principal(self, subject: str, **attributes: str) -> Principal:
        """Return whom a proof of this subject speaks for."""
        name = f"principal://{self.pool}/subject/{subject}"
        sets = {f"principalSet://{self.pool}/attribute.{key}/{value}" for key, value in attributes.items()}
        return Principal(name, frozenset({name, f"principalSet://{self.pool}/*", *sets}))


@dataclass
class Repository:
    """`readers` are the members that have the reader's role on it; `denied` are taken out again.

    `shelves` hold the images, by name.
    """

    project: str
    location: str
    name: str
    readers: set[str] = field(default_factory=set)
    denied: set[str] = field(default_factory=set)
    shelves: dict[str, Shelf] = field(default_factory=lambda: defaultdict(Shelf))

    def permits(self, principal: Principal | None) -> bool:
        """Whether somebody, or nobody in particular, may read it."""
        members = {ANYBODY, *((ANYBODY_KNOWN, *principal.members) if principal is not None else ())}
        return bool(members & self.readers) and not members & self.denied


class GcpModel:
    """What exists. It knows nothing of wires."""

    def __init__(self) -> None:
        self.accounts: dict[str, Account] = {}
        self.providers: dict[str, PoolProvider] = {}
        self.repositories: dict[tuple[str, str, str], Repository] = {}
        self.project_readers: dict[str, set[str]] = {}
        """Members that have the reader's role on a whole project."""

    def account(self, email: str) -> Account:
        """Return a service account; raise UnknownThingError."""
        try:
            return self.accounts[email]
        except KeyError:
            raise UnknownThingError(f"there is no service account {email}") from None

    def provider(self, name: str) -> PoolProvider:
        """Return a pool's provider; raise UnknownThingError."""
        try:
            return self.providers[name]
        except KeyError:
            raise UnknownThingError(f"there is no workload identity provider {name}") from None

    def repository(self, project: str, location: str, name: str) -> Repository:
        """Return a repository; raise UnknownThingError."""
        try:
            return self.repositories[project, location, name]
        except KeyError:
            raise UnknownThingError(f"there is no repository {location}/{project}/{name}") from None

    def may_act_as(self, principal: Principal, email: str) -> bool:
        """Whether somebody may make tokens of a service account; one that does not exist has no actors."""
        account = self.accounts.get(email)
        return account is not None and bool(principal.members & account.actors)

    def reads_project(self, principal: Principal | None, project: str) -> bool:
        """Whether somebody may read all of a project, and so may know what is not there."""
        return principal is not None and bool(principal.members & self.project_readers.get(project, set()))


def read_keys(text: str | None) -> Mapping[str, object] | None:
    """Read an uploaded JWKS."""
    if text is None:
        return None
    found: Mapping[str, object] = json.loads(text)
    return found
