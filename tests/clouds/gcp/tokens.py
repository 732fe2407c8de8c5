"""Access tokens: opaque, of no fixed length, remembered only by their hash."""

import hashlib
import secrets
from dataclasses import dataclass, replace

CLOUD_PLATFORM = "https://www.googleapis.com/auth/cloud-platform"
READ_ONLY = f"{CLOUD_PLATFORM}.read-only"
IAM = "https://www.googleapis.com/auth/iam"
STORAGE_READ_ONLY = "https://www.googleapis.com/auth/devstorage.read_only"
KNOWN_SCOPES = frozenset({CLOUD_PLATFORM, READ_ONLY, IAM, STORAGE_READ_ONLY})


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls. `members` are all names by which policies may mean it, `name` the first of them."""

    name: str
    members: frozenset[str]

    @classmethod
    def of_account(cls, email: str) -> "Principal":
        """Return a service account."""
        name = f"serviceAccount:{email}"
        return cls(name, frozenset({name}))


@dataclass(frozen=True, slots=True)
class Token:
    """Whom an access token speaks for, for what and how long."""

    principal: Principal
    scopes: frozenset[str]
    expires_at: float


class Tokens:
    """Every token given out. One that is revoked is one we never heard of."""

    def __init__(self) -> None:
        self._given: dict[bytes, Token] = {}

    def issue(self, token: Token, prefix: str = "ya29.") -> str:
        """Return a new token; federated ones are longer and begin with `ya29.d.`."""
        text = prefix + secrets.token_urlsafe(150 + secrets.randbelow(120))
        self._given[_hash(text)] = token
        return text

    def find(self, text: str, now: float) -> Token | None:
        """Return what a token stands for, unless it ended."""
        token = self._given.get(_hash(text))
        return token if token is not None and now < token.expires_at else None

    def expire(self, now: float) -> int:
        """Let every token end now; return how many were alive."""
        alive = {key: token for key, token in self._given.items() if token.expires_at > now}
        self._given |= {key: replace(token, expires_at=now) for key, token in alive.items()}
        return len(alive)

    def revoke(self) -> int:
        """Forget every token; return how many there were."""
        count = len(self._given)
        self._given.clear()
        return count


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
