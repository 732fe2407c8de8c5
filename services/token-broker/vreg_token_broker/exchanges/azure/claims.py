"""What the tokens say of themselves. They are read, not verified: they came from whom we asked, over TLS."""

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from vreg_shared.secret import Secret

NOMINAL_LIFE: Final = timedelta(hours=3)
UNKNOWN_LIFE: Final = timedelta(seconds=60)
"""For a token without an end: OAuth's default, since a guess too long is a pull that fails."""
_PARTS: Final = 3
_TEXT_LIMIT: Final = 100


def claims_of(token: Secret) -> dict[str, Any]:
    """Return a JWT's claims, empty when it has none that can be read."""
    parts = token.reveal().split(".")
    if len(parts) != _PARTS:
        return {}
    try:
        found = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def principal_of(entra_token: Secret) -> str:
    """Return whom a token of Microsoft Entra speaks for, as far as it says so."""
    claims = claims_of(entra_token)
    known = (("application", "appid"), ("object", "oid"), ("tenant", "tid"))
    return ", ".join(f"{word} {str(claims[name])[:_TEXT_LIMIT]}" for word, name in known if name in claims)


def lifetime(refresh_token: Secret, date: datetime | None, now: datetime) -> tuple[datetime, datetime]:
    """Return (issued_at, not_after): the shorter of what Azure's clock and ours say, at most nominal.

    Only `exp` counts: `iat` and `nbf` lie a quarter of an hour before the issue.
    """
    issued_at = now if date is None else max(now, date)
    ends = _moment(claims_of(refresh_token).get("exp"))
    not_after = ends if ends is not None else issued_at + UNKNOWN_LIFE
    return issued_at, min(not_after, issued_at + NOMINAL_LIFE)


def _moment(value: object) -> datetime | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        return None
