"""The one rule of who gets what: the challenge for strangers, one 404 for all that a client may not know."""

from dataclasses import dataclass
from typing import Final

from vreg_proxy.config_cache import Snapshot
from vreg_proxy.distribution.authentication import Anonymous, Client, Known, Rejected, may_pull
from vreg_proxy.distribution.paths import Place
from vreg_proxy.distribution.replies import Problem
from vreg_shared.messages.registry import RegistryRecord
from vreg_shared.oci.errors import OciError

UNKNOWN: Final = Problem(OciError.NAME_UNKNOWN)
"""For a registry that is not there and for one that is not this client's: the same bytes."""


@dataclass(frozen=True, slots=True)
class Gate:
    """Decides requests. `realm` and `service` are fixed by the operator's settings, never by a request."""

    realm: str
    service: str

    def admit(self, client: Client, place: Place, snapshot: Snapshot) -> RegistryRecord | Problem:
        """Return the registry the client may pull from, or why not. Nothing was asked of anybody before."""
        registry = snapshot.registries.get(place.slug)
        if isinstance(client, Rejected):
            return self.challenge(place, "invalid_token")
        if registry is not None and registry.anonymous_pull:
            return registry
        if isinstance(client, Known):
            if registry is None or not may_pull(client.access, registry):
                return UNKNOWN
            if client.grant is not None and place.name not in client.grant.repositories:
                return self.challenge(place, "insufficient_scope")
            return registry
        return self.challenge(place)

    def ping(self, client: Client) -> Problem | None:
        """Return why `/v2/` does not greet this client, if it does not."""
        if isinstance(client, Known) or (isinstance(client, Anonymous) and client.grant is not None):
            return None
        return self.challenge(None, "invalid_token" if isinstance(client, Rejected) else None)

    def challenge(self, place: Place | None, error: str | None = None) -> Problem:
        """Return the 401 that sends a client to our own token endpoint."""
        parts = [f'realm="{self.realm}"', f'service="{self.service}"']
        if place is not None:
            parts.append(f'scope="repository:{place.name}:pull"')
        if error is not None:
            parts.append(f'error="{error}"')
        return Problem(OciError.UNAUTHORIZED, challenge="Bearer " + ",".join(parts))
