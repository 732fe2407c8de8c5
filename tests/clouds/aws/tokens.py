"""Registry tokens: opaque, of no fixed length, remembered only by their hash."""

import base64
import hashlib
import json
import secrets
from dataclasses import dataclass, replace

from tests.clouds.aws.model import AccessKey, Principal

PUBLIC = "public"
"""What stands for a region in tokens of ECR Public."""
ANONYMOUS = AccessKey("", "", Principal("", "aws", "anonymous", "anonymous", "", is_session=False))
"""Whom ECR Public's token endpoint gives tokens to that shows nothing."""


@dataclass(frozen=True, slots=True)
class Token:
    """Whom a registry token speaks for, where and how long."""

    key: AccessKey
    """What it was asked for with."""
    partition: str
    region: str
    expires_at: float


class Tokens:
    """Every token given out. One that is revoked is one we never heard of."""

    def __init__(self) -> None:
        self._given: dict[bytes, Token] = {}

    def issue(self, token: Token) -> str:
        """Return a new password; it looks like a real one, to whoever looks."""
        inner = {
            "payload": base64.b64encode(secrets.token_bytes(600 + secrets.randbelow(600))).decode(),
            "datakey": base64.b64encode(secrets.token_bytes(184)).decode(),
            "version": "2",
            "type": "DATA_KEY",
            "expiration": int(token.expires_at),
        }
        password = base64.b64encode(json.dumps(inner, separators=(",", ":")).encode()).decode()
        self._given[_hash(password)] = token
        return password

    def find(self, password: str) -> Token | None:
        """Return what a password stands for, expired or not."""
        return self._given.get(_hash(password))

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


def looks_like_token(password: str) -> bool:
    """Whether this could be a password of ours; anything else is garbage."""
    try:
        inner = json.loads(base64.b64decode(password, validate=True))
    except ValueError:
        return False
    return isinstance(inner, dict) and {"payload", "datakey", "version", "expiration"} <= inner.keys()


def _hash(password: str) -> bytes:
    return hashlib.sha256(password.encode()).digest()
