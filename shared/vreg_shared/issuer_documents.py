"""What the world reads of vreg's own issuer, and what the issuer calls an identity."""

import json
from typing import Final
from urllib.parse import urlsplit

DISCOVERY_PATH: Final = "/.well-known/openid-configuration"
JWKS_PATH: Final = "/jwks.json"
CLAIMS: Final = ("iss", "sub", "aud", "iat", "nbf", "exp", "jti")


def subject_of(identity_id: str) -> str:
    """Return the subject of an identity's tokens.

    Trust policies name it, so it is made of the id alone, which never changes and is never used again.
    """
    return f"vreg:identity:{identity_id}"


def path_of(issuer_url: str) -> str:
    """Return the path below which the issuer's documents lie on its host; empty for the whole host."""
    return urlsplit(issuer_url).path


def discovery_document(issuer_url: str) -> bytes:
    """Return the issuer's metadata (OpenID Connect Discovery 1.0, section 3).

    It names no endpoint where people sign in: nobody does, and the clouds ask for none.
    """
    metadata = {
        "issuer": issuer_url,
        "jwks_uri": issuer_url + JWKS_PATH,
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "scopes_supported": ["openid"],
        "claims_supported": list(CLAIMS),
    }
    return json.dumps(metadata, indent=2).encode() + b"\n"
