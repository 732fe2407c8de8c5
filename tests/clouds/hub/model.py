"""What the registries know: accounts and their passwords, repositories, tokens, and pulls counted."""

import hashlib
import secrets
from dataclasses import dataclass, field, replace
from enum import StrEnum
from uuid import uuid4

from tests.clouds.clock import CloudClock
from tests.clouds.content import ContentStore
from tests.clouds.shelf import Shelf

SIX_HOURS = 6 * 3600
ANONYMOUS = "anonymous"


class UnknownThingError(Exception):
    """A test named something that was never made."""


class Hiding(StrEnum):
    """What is said of a repository that the asker may not read, or that does not exist. All are reported."""

    INSUFFICIENT_SCOPE = "insufficient_scope"
    """401 with a challenge that says `insufficient_scope`."""
    DENIED = "denied"
    """401 with a plain challenge, and the words in the body."""
    NOT_FOUND = "not_found"
    """404, as if there were no such name."""
    AT_REALM = "at_realm"
    """The token endpoint itself answers 403."""


@dataclass
class Account:
    """A person, a robot or a deploy token; any number of passwords are good at once."""

    username: str
    source: str = field(default_factory=lambda: str(uuid4()))
    """What Docker Hub names as whom it counts pulls for."""
    passwords: set[str] = field(default_factory=set)


@dataclass
class Repository:
    """`readers` may pull a private one."""

    name: str
    is_public: bool
    readers: tuple[str, ...] = ()
    shelf: Shelf = field(default_factory=Shelf)

    def may_be_read_by(self, username: str | None) -> bool:
        """Whether this account, or nobody in particular, may pull."""
        return self.is_public or username in self.readers


@dataclass(frozen=True, slots=True)
class Token:
    """A registry token: for one site, whoever asked, and the repositories he may pull from."""

    host: str
    username: str | None
    repositories: frozenset[str]
    expires_at: float


@dataclass
class Quota:
    """How many pulls a source has left in a window that began with its first."""

    used: int = 0
    began_at: float = 0.0


@dataclass
class HubState:
    """Switches default to what the documentation says, or to what is usually assumed."""

    clock: CloudClock
    content: ContentStore
    accounts: dict[tuple[str, str], Account] = field(default_factory=dict)
    repositories: dict[tuple[str, str], Repository] = field(default_factory=dict)
    tokens: dict[bytes, Token] = field(default_factory=dict)
    quotas: dict[str, Quota] = field(default_factory=dict)
    hiding: Hiding = Hiding.INSUFFICIENT_SCOPE
    token_seconds: float = 300.0
    storage_url_seconds: float = 1200.0
    anonymous_limit: int = 100
    account_limit: int | None = 200
    """None for a paid account, of which no headers speak."""
    window_seconds: int = SIX_HOURS
    address: str = "203.0.113.7"
    """Where anonymous askers seem to come from."""
    is_head_limited: bool = False
    """Unknown of the real one: whether HEAD is refused too once the pulls are used up."""

    def account(self, host: str, username: str) -> Account:
        """Return an account; raise UnknownThingError."""
        try:
            return self.accounts[host, username]
        except KeyError:
            raise UnknownThingError(f"{host} has no account {username}") from None

    def repository(self, host: str, name: str) -> Repository:
        """Return a repository; raise UnknownThingError."""
        try:
            return self.repositories[host, name]
        except KeyError:
            raise UnknownThingError(f"{host} has no repository {name}") from None

    def issue(self, token: Token) -> str:
        """Return a new bearer; only its hash is kept."""
        bearer = f"eyJ{secrets.token_urlsafe(60)}.{secrets.token_urlsafe(90)}.{secrets.token_urlsafe(40)}"
        self.tokens[_hash(bearer)] = token
        return bearer

    def token(self, bearer: str, host: str) -> Token | None:
        """Return a token that is good on this host now."""
        token = self.tokens.get(_hash(bearer))
        if token is None or token.host != host or self.clock.now() >= token.expires_at:
            return None
        return token

    def expire_tokens(self) -> int:
        """Let every token end now; return how many were alive."""
        now = self.clock.now()
        alive = {key: token for key, token in self.tokens.items() if token.expires_at > now}
        self.tokens |= {key: replace(token, expires_at=now) for key, token in alive.items()}
        return len(alive)

    def limit_of(self, username: str | None) -> int | None:
        """Return how many pulls a window holds for somebody, None when they are not counted."""
        return self.anonymous_limit if username is None else self.account_limit

    def quota(self, source: str) -> Quota:
        """Return what a source has used of its present window."""
        quota, now = self.quotas.get(source), self.clock.now()
        if quota is None or now >= quota.began_at + self.window_seconds:
            quota = self.quotas[source] = Quota(0, now)
        return quota


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
