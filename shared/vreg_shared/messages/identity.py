"""An identity, as the api tells the broker alone of it: `vreg_identities`, key `identity.<id>`."""

from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel, ConfigDict

BUCKET: Final = "vreg_identities"
KEY_FILTER: Final = "identity.*"


class IdentityRecord(BaseModel):
    """A named way to prove ourselves to one cloud; its secrets are sealed to the broker."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    name: str
    method: str
    settings: dict[str, Any]
    usable_for: dict[str, Any]
    external_id: str
    sealed_secrets: str | None = None
    credential_version: int = 1

    def seal_context(self) -> dict[str, Any]:
        """Return the context its secrets were sealed in."""
        return seal_context(self.id, self.method, self.usable_for, self.credential_version)


def key_of(identity_id: str) -> str:
    """Return the record's key."""
    return f"identity.{identity_id}"


def seal_context(
    identity_id: str, method: str, usable_for: Mapping[str, Any], credential_version: int
) -> dict[str, Any]:
    """Bind a secret to its identity, its method, where it may go and its version.

    Re-pointing or widening a stored secret, or rolling it back, makes it unopenable.
    """
    return {
        "purpose": "vreg/identity",
        "identity": identity_id,
        "method": method,
        "usable_for": dict(usable_for),
        "credential_version": credential_version,
    }
