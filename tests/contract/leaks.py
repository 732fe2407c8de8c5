"""Looking for secrets in text, in every shape in which one might leave."""

import base64
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

_SHORTEST = 8


def places_of(secrets: Iterable[str], text: str) -> list[str]:
    """Return which secrets show in `text` and in what shape, without repeating them."""
    found = []
    for number, secret in enumerate(sorted(secrets)):
        assert len(secret) >= _SHORTEST, "a secret this short would be found by accident"
        found += [f"secret {number} as {shape}" for shape, shown in _shapes(secret) if shown in text]
    return found


def _shapes(secret: str) -> list[tuple[str, str]]:
    raw = secret.encode()
    shapes = [
        ("itself", secret),
        ("hex", raw.hex()),
        ("URL", quote(secret, safe="")),
        ("form", quote_plus(secret)),
        ("JSON", secret.encode("unicode_escape").decode()),
    ]
    for shift in range(3):  # base64 of something that begins elsewhere
        inner = base64.b64encode(b"\0" * shift + raw)[4 if shift else 0 : -4].decode()
        if len(inner) >= _SHORTEST:
            shapes += [("base64", inner), ("base64url", inner.replace("+", "-").replace("/", "_"))]
    return shapes
