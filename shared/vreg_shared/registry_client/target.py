"""Which upstream is spoken to, and with whose credential."""

from dataclasses import dataclass
from typing import Protocol

from yarl import URL

from vreg_shared.egress import EgressScope, read_url
from vreg_shared.errors import VregError
from vreg_shared.lease import Generation, Lease
from vreg_shared.provider import Answer, RegistryKind, Verdict


class CredentialUnavailableError(VregError):
    """There is no lease to be had; `verdict` says why."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(f"no registry credential is to be had: {verdict.reason}")
        self.verdict = verdict


class Credentials(Protocol):
    """Where leases come from. Many requests ask at once: exchanges are shared behind this."""

    async def current(self) -> Lease | None:
        """Return the lease to use, None only for an upstream without identity.

        Raises CredentialUnavailableError: a missing lease never turns into anonymous access.
        """
        ...

    async def replace(self, refused: Generation) -> Lease:
        """Return a lease newer than the refused one; raise CredentialUnavailableError."""
        ...


class FixedCredentials:
    """One lease, or none for anonymous access, that nobody can replace."""

    def __init__(self, lease: Lease | None = None) -> None:
        self._lease = lease

    async def current(self) -> Lease | None:
        """Return the lease."""
        return self._lease

    async def replace(self, refused: Generation) -> Lease:
        """Raise CredentialUnavailableError, always."""
        raise CredentialUnavailableError(
            Verdict(Answer.REFUSED, "credential_rejected", detail=f"{refused} is the only one there is")
        )


@dataclass(frozen=True, slots=True)
class Target:
    """One upstream registry. `token_realm` is the token endpoint its owner configured, if any."""

    upstream_id: str
    kind: RegistryKind
    host: str
    token_realm: str | None = None

    @property
    def origin(self) -> URL:
        """The registry's https origin."""
        return read_url(f"https://{self.host}")

    @property
    def pinned_realms(self) -> tuple[URL, ...]:
        """The token endpoints known beforehand: the owner's and the provider's."""
        known = (self.token_realm, self.kind.token_realm(self.host))
        return tuple(read_url(realm) for realm in known if realm is not None)

    def egress_scope(self) -> EgressScope:
        """Return the names and ports this upstream needs."""
        urls = (self.origin, *self.pinned_realms)
        hosts = tuple((url.raw_host or "").lower() for url in urls)
        return EgressScope(
            names=(*hosts, *self.kind.storage_names(self.host)),
            ports=frozenset({443, *(url.port for url in urls if url.port)}),
            may_be_private=self.kind.may_be_private,
        )
