"""The emulated AWS: users with keys, roles and their sessions, repositories and what is in them."""

import re
import secrets
import string
from dataclasses import dataclass, field

from tests.clouds.aws.places import partition_of
from tests.clouds.aws.policy import Statement, refusal, session_refusal
from tests.clouds.shelf import Shelf

_UPPER = string.ascii_uppercase + string.digits
_SECRET = string.ascii_letters + string.digits + "+/"


@dataclass
class Principal:
    """Who calls. `arn` is as IAM's error texts name it, `iam_arn` as policies do."""

    account: str
    partition: str
    arn: str
    iam_arn: str
    user_id: str
    is_session: bool
    limits: tuple[Statement, ...] | None = None
    """A session's own policy: it may do what this and its role's permissions both allow."""


@dataclass
class AccessKey:
    """A user's key, or a role session's with its token and end."""

    access_key_id: str
    secret: str
    principal: Principal
    session_token: str | None = None
    expires_at: float | None = None


@dataclass(frozen=True, slots=True)
class Federation:
    """What a role's trust policy wants of an identity token; None leaves a claim unlooked at."""

    issuer: str
    audience: str | None
    subject: str | None


@dataclass
class Role:
    """`trusted` are principals' ARNs, account roots or ids, or services; an external id must match."""

    account: str
    partition: str
    name: str
    role_id: str
    trusted: tuple[str, ...]
    external_id: str | None
    max_session_seconds: int
    federations: tuple[Federation, ...] = ()

    @property
    def arn(self) -> str:
        return f"arn:{self.partition}:iam::{self.account}:role/{self.name}"

    def names(self, principal: Principal) -> bool:
        """Whether the trust policy names this very principal."""
        return bool({principal.arn, principal.iam_arn} & set(self.trusted))

    def names_account_of(self, principal: Principal) -> bool:
        """Whether the trust policy trusts the whole account, which leaves the rest to that account."""
        root = f"arn:{principal.partition}:iam::{principal.account}:root"
        return bool({root, principal.account} & set(self.trusted))


@dataclass
class Repository:
    """`readers` are principals of other accounts, or those accounts, that the repository's policy allows."""

    account: str
    partition: str
    region: str
    name: str
    readers: tuple[str, ...] = ()
    shelf: Shelf = field(default_factory=Shelf)

    def allows(self, principal: Principal) -> bool:
        """Whether the repository's own policy lets this principal pull."""
        root = f"arn:{principal.partition}:iam::{principal.account}:root"
        return bool({principal.arn, principal.iam_arn, principal.account, root, "*"} & set(self.readers))


class UnknownThingError(LookupError):
    """A control named a user, role or repository that does not exist."""


class AwsModel:
    """What exists and who may do what. It knows nothing of wires."""

    def __init__(self) -> None:
        self.keys: dict[str, AccessKey] = {}
        self.roles: dict[str, Role] = {}
        self.policies: dict[str, tuple[Statement, ...]] = {}
        self.repositories: dict[tuple[str, str, str], Repository] = {}
        self.disabled_regions: set[tuple[str, str]] = set()
        self.oidc_providers: dict[tuple[str, str], set[str]] = {}
        """(account, issuer) to the audiences that are its client ids."""

    def add_user(self, account: str, name: str, partition: str, allow: tuple[Statement, ...]) -> AccessKey:
        """Make a user with one key; a user that exists gets another key and this policy."""
        arn = f"arn:{partition}:iam::{_account(account)}:user/{name}"
        self.policies[arn] = allow
        return self.add_key(Principal(account, partition, arn, arn, random_id("AIDA"), is_session=False))

    def add_key(self, principal: Principal) -> AccessKey:
        """Make one more long-lived key."""
        key = AccessKey(random_id("AKIA"), random_secret(), principal)
        self.keys[key.access_key_id] = key
        return key

    def add_role(self, role: Role, allow: tuple[Statement, ...]) -> Role:
        """Make or replace a role."""
        _account(role.account)
        self.roles[role.arn] = role
        self.policies[role.arn] = allow
        return role

    def open_session(
        self,
        role: Role,
        session_name: str,
        expires_at: float,
        limits: tuple[Statement, ...] | None = None,
    ) -> AccessKey:
        """Make temporary credentials of a role."""
        name = role.name.rpartition("/")[2]
        arn = f"arn:{role.partition}:sts::{role.account}:assumed-role/{name}/{session_name}"
        user_id = f"{role.role_id}:{session_name}"
        principal = Principal(
            role.account, role.partition, arn, role.arn, user_id, is_session=True, limits=limits
        )
        # Real ones begin like this, hold + and /, and have no fixed length.
        token = "IQoJb3JpZ2luX2Vj" + random_text(_SECRET, 340 + secrets.randbelow(200)) + "/+=="
        key = AccessKey(random_id("ASIA"), random_secret(), principal, token, expires_at)
        self.keys[key.access_key_id] = key
        return key

    def add_repository(self, account: str, region: str, name: str, readers: tuple[str, ...]) -> Repository:
        """Make a repository, or give the one that exists new readers."""
        found = self.repositories.get((account, region, name))
        if found is None:
            found = Repository(_account(account), partition_of(region), region, name)
            self.repositories[account, region, name] = found
        found.readers = readers
        return found

    def repository(self, account: str, region: str, name: str) -> Repository:
        """Return a repository; raise UnknownThingError."""
        try:
            return self.repositories[account, region, name]
        except KeyError:
            raise UnknownThingError(f"there is no repository {name} in {account}/{region}") from None

    def refusal(
        self, principal: Principal, action: str, resource: str, *, is_allowed_there: bool | None = None
    ) -> str | None:
        """Return IAM's whole sentence of refusal, or None when it allows."""
        statements = self.policies.get(principal.iam_arn, ())
        why = refusal(statements, action, resource, is_allowed_there=is_allowed_there)
        why = why or session_refusal(principal.limits, action, resource)
        if why is None:
            return None
        return f"User: {principal.arn} is not authorized to perform: {action} on resource: {resource} {why}"

    def may_assume(self, principal: Principal, role_arn: str, external_id: str | None) -> Role | None:
        """Return the role if this principal may assume it now; AWS does not say why not."""
        role = self.roles.get(role_arn)
        if role is None or role.partition != principal.partition:
            return None
        if role.external_id is not None and role.external_id != external_id:
            return None
        is_named, is_home = role.names(principal), role.account == principal.account
        if not (is_named or role.names_account_of(principal)):
            return None
        if is_named and is_home and session_refusal(principal.limits, "sts:AssumeRole", role_arn) is None:
            return role
        return role if self.refusal(principal, "sts:AssumeRole", role_arn) is None else None


def random_id(prefix: str) -> str:
    """Return an id of the kind that AWS gives to keys, users and roles."""
    return prefix + random_text(_UPPER, 16)


def random_secret() -> str:
    """Return a secret access key: 40 characters, with + and / among them."""
    return random_text(_SECRET, 38) + "+/"


def random_text(alphabet: str, length: int) -> str:
    """Return unguessable text."""
    return "".join(secrets.choice(alphabet) for _ in range(length))


def _account(account: str) -> str:
    if re.fullmatch(r"[0-9]{12}", account) is None:
        raise ValueError(f"an account id has 12 digits, not {account!r}")
    return account
