"""Access tokens, as the api tells proxies of them: `vreg_config`, key `access.<id>`.

A token's text is `vreg_<id>_<secret>`: the id finds the record, and the SHA-256 of the whole text proves it.
The secret has 256 random bits, so a plain hash is enough: there is nothing to guess.
"""

import hashlib
import hmac
import re
import secrets
from datetime import datetime
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

from vreg_shared.errors import VregError
from vreg_shared.secret import Secret

BUCKET: Final = "vreg_config"
KEY_FILTER: Final = "access.*"
Role = Literal["admin", "editor", "viewer", "auditor", "puller"]
_TOKEN: Final = re.compile(r"vreg_([0-9A-HJKMNP-TV-Z]{26})_[A-Za-z0-9_-]{43}", re.ASCII)


class InvalidTokenError(VregError):
    """The text does not have the shape of an access token."""


class AccessRecord(BaseModel):
    """Who may do what. `registry_ids` None means every registry.

    The secret before the last is good until `previous_until`: its users have so long to take the new one.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    name: str
    secret_sha256: str
    role: Role
    registry_ids: tuple[str, ...] | None = None
    expires_at: datetime | None = None
    previous_sha256: str | None = None
    previous_until: datetime | None = None

    def proves(self, token: Secret, now: datetime) -> bool:
        """Whether `token` is this record's, in the same time whatever differs."""
        given = hash_token(token)
        is_current = hmac.compare_digest(given, self.secret_sha256)
        is_previous = hmac.compare_digest(given, self.previous_sha256 or "")
        is_overlap = self.previous_until is not None and now < self.previous_until
        return is_current or (is_previous and is_overlap)

    def is_live(self, now: datetime) -> bool:
        """Whether the token has not expired."""
        return self.expires_at is None or now < self.expires_at


def key_of(access_id: str) -> str:
    """Return the record's key."""
    return f"access.{access_id}"


def new_token(access_id: str) -> Secret:
    """Make the token of a new record."""
    return Secret(prefix_of(access_id) + secrets.token_urlsafe(32))


def prefix_of(access_id: str) -> str:
    """Return what a record's tokens begin with; it is no secret."""
    return f"vreg_{access_id}_"


def access_id_of(token: Secret) -> str:
    """Return the id a token names, unproved; raise InvalidTokenError."""
    match = _TOKEN.fullmatch(token.reveal())
    if match is None:
        raise InvalidTokenError("an access token looks like vreg_<id>_<secret>")
    return match[1]


def hash_token(token: Secret) -> str:
    """Return what is stored of a token."""
    return hashlib.sha256(token.reveal().encode()).hexdigest()
