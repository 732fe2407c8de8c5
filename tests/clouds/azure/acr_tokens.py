"""The registry's two kinds of token, both dated a quarter of an hour back."""

from typing import Any
from uuid import uuid4

from tests.clouds.azure.jwt import BadTokenError
from tests.clouds.azure.model import Registry
from tests.clouds.azure.state import AzureState

BACK_DATED_SECONDS = 900
ISSUER = "Azure Container Registry"
REFRESH, ACCESS = "refresh_token", "access_token"


def issue(state: AzureState, registry: Registry, kind: str, subject: str, **claims: Any) -> str:  # noqa: ANN401 -- JSON
    """Return a token of this kind."""
    life = state.refresh_token_seconds if kind == REFRESH else state.access_token_seconds
    now, identifier = state.clock.now(), str(uuid4())
    state.given.add(identifier)
    return state.registry_signer.sign(
        {
            "jti": identifier,
            "sub": subject,
            "nbf": int(now) - BACK_DATED_SECONDS,
            "exp": int(now + life),
            "iat": int(now) - BACK_DATED_SECONDS,
            "iss": ISSUER,
            "aud": registry.host,
            "version": "1.0",
            "rid": registry.regid,
            "grant_type": kind,
            "roles": [],
            **claims,
        }
    )


def refresh_token(state: AzureState, registry: Registry, object_id: str) -> str:
    """Return a refresh token; without repository permissions it says what its owner may do."""
    actions = ["read"] if registry.has_role(object_id) and not registry.is_abac else []
    return issue(state, registry, REFRESH, object_id, permissions={"actions": actions, "notActions": []})


def accepted(state: AzureState, registry: Registry, kind: str, token: str) -> dict[str, Any]:
    """Return what a token says; raise BadTokenError unless it is good here and now."""
    claims = state.registry_signer.claims(token)
    if claims["grant_type"] != kind or claims["aud"] != registry.host:
        raise BadTokenError("another registry's, or of another kind")
    if claims["exp"] <= state.clock.now() or claims["jti"] in state.dead:
        raise BadTokenError("expired")
    return claims
