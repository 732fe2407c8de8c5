"""vreg as an issuer: the claims of an identity token, and the token itself (JWS, RFC 7515, with RS256).

Azure takes no other algorithm, AWS only whole numbers for instants, and all three take one text as audience.
"""

import base64
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256

from vreg_shared.canonical import canonical_json
from vreg_shared.issuer_keys import IssuerKey
from vreg_shared.secret import Secret

LIFE: Final = timedelta(minutes=5)
"""Enough for one exchange; nobody keeps a token."""
SKEW: Final = timedelta(seconds=30)
"""How far a cloud's clock may be behind ours."""


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token says: who we are (`subject`), to whom (`audience`), and since when."""

    issuer: str
    subject: str
    audience: str
    now: datetime
    token_id: str

    def as_json(self) -> dict[str, Any]:
        """Return the claims as they are signed; instants are whole seconds."""
        issued_at = int(self.now.timestamp())
        return {
            "iss": self.issuer,
            "sub": self.subject,
            "aud": self.audience,
            "iat": issued_at,
            "nbf": issued_at - int(SKEW.total_seconds()),
            "exp": issued_at + int(LIFE.total_seconds()),
            "jti": self.token_id,
        }


def signed(key: IssuerKey, claims: Claims) -> Secret:
    """Return the token: whoever holds it is the identity until it ends."""
    header = {"alg": "RS256", "typ": "JWT", "kid": key.kid}
    message = f"{_part(canonical_json(header))}.{_part(canonical_json(claims.as_json()))}"
    signature = key.private.sign(message.encode(), PKCS1v15(), SHA256())
    return Secret(f"{message}.{_part(signature)}")


def _part(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
