"""The one rule of who gets what: the challenge for strangers, one 404 for all that a client may not know."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from vreg_proxy.config_cache import Snapshot
from vreg_proxy.distribution.authentication import Anonymous, Client, Known, Rejected, may_pull
from vreg_proxy.distribution.paths import Place
from vreg_proxy.distribution.replies import Problem
from vreg_shared.messages.registry import RegistryRecord
from vreg_shared.oci.errors import OciError

CATALOG_SCOPE: Final = "registry:catalog:*"
"""As Docker's registry spells the right to list repositories."""
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
            return self.challenge(_scope(place), "invalid_token")
        if registry is not None and registry.anonymous_pull:
            return registry
        if isinstance(client, Known):
            if registry is None or not may_pull(client.access, registry):
                return UNKNOWN
            if client.grant is not None and place.name not in client.grant.repositories:
                return self.challenge(_scope(place), "insufficient_scope")
            return registry
        return self.challenge(_scope(place))

    def ping(self, client: Client) -> Problem | None:
        """Return why `/v2/` does not greet this client, if it does not."""
        if isinstance(client, Known) or (isinstance(client, Anonymous) and client.grant is not None):
            return None
        return self.challenge(None, "invalid_token" if isinstance(client, Rejected) else None)

    def browse(self, client: Client, snapshot: Snapshot) -> Sequence[RegistryRecord] | Problem:
        """Return the registries whose repositories the client may see, or why it may see none."""
        if isinstance(client, Rejected):
            return self.challenge(CATALOG_SCOPE, "invalid_token")
        if client.grant is not None and not client.grant.catalog:
            return self.challenge(CATALOG_SCOPE, "insufficient_scope")
        if isinstance(client, Anonymous) and client.grant is None:
            return self.challenge(CATALOG_SCOPE)
        return browsable(client, snapshot)

    def challenge(self, scope: str | None, error: str | None = None) -> Problem:
        """Return the 401 that sends a client to our own token endpoint."""
        parts = [f'realm="{self.realm}"', f'service="{self.service}"']
        if scope is not None:
            parts.append(f'scope="{scope}"')
        if error is not None:
            parts.append(f'error="{error}"')
        return Problem(OciError.UNAUTHORIZED, challenge="Bearer " + ",".join(parts))


def browsable(client: Client, snapshot: Snapshot) -> Sequence[RegistryRecord]:
    """Return the registries a client may pull from."""
    return [
        registry
        for registry in snapshot.registries.values()
        if registry.anonymous_pull or (isinstance(client, Known) and may_pull(client.access, registry))
    ]


def _scope(place: Place) -> str:
    return f"repository:{place.name}:pull"
