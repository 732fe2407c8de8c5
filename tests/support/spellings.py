"""How a secret may be spelt where it should not be: itself, encoded, or a piece of something encoded."""

import base64
from collections.abc import Mapping
from urllib.parse import quote


def spellings(secret: str) -> dict[str, bytes]:
    """Return how a secret may be spelt; in base64 it depends on what stands before it."""
    raw = secret.encode()
    found = {
        "raw": raw,
        "hex": raw.hex().encode(),
        "HEX": raw.hex().upper().encode(),
        "url": quote(secret, safe="").encode(),
        "JSON": secret.encode("unicode_escape"),
        "reversed": raw[::-1],
    }
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + raw)[shift + 1 if shift else 0 :]
        found[f"base64/{shift}"] = encoded.rstrip(b"=")[:-2]
        found[f"base64url/{shift}"] = found[f"base64/{shift}"].replace(b"+", b"-").replace(b"/", b"_")
    return found


def hits(secrets: Mapping[str, str], content: bytes) -> list[str]:
    """Name every secret that `content` holds, and in which spelling."""
    return [
        f"{name} ({form})"
        for name, secret in secrets.items()
        for form, text in spellings(secret).items()
        if text in content
    ]
