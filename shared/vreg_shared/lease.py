"""Leases: registry credentials with an end, bound to the hosts they may be sent to."""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Self

from vreg_shared.errors import VregError
from vreg_shared.provider import Presentation
from vreg_shared.secret import Secret

_GENERATION: Final = re.compile(r"(\d{10})-(\d{16})-([a-z0-9][a-z0-9-]{0,62})", re.ASCII)


class InvalidGenerationError(VregError):
    """The text is not a lease's generation."""


@dataclass(frozen=True, slots=True, order=True)
class Generation:
    """The age of a lease, compared field by field; ours alone, never a revision of the bus.

    `instant_ms` is a hybrid clock: milliseconds since 1970, pushed above the highest generation seen.
    """

    identity_version: int
    instant_ms: int
    broker: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what `str` wrote; raise InvalidGenerationError."""
        match = _GENERATION.fullmatch(text)
        if match is None:
            raise InvalidGenerationError("a generation is <10 digits>-<16 digits>-<broker>")
        return cls(int(match[1]), int(match[2]), match[3])

    def __str__(self) -> str:
        return f"{self.identity_version:010d}-{self.instant_ms:016d}-{self.broker}"


@dataclass(frozen=True, slots=True)
class RegistryCredential:
    """Rung 3 of the ladder: what a registry host accepts."""

    username: str
    secret: Secret
    presentation: Presentation


@dataclass(frozen=True, slots=True)
class LeaseNeed:
    """What an upstream needs a lease for: its host, and the prefix that a lease is bound to there, if any.

    `private_ca_sha256` are the certificates the host may be known by beside those that all trust.
    """

    host: str
    repositories: str = ""
    private_ca_sha256: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Lease:
    """A registry credential, for these hosts only. `not_after` None means it ends only when revoked.

    `repositories` are the prefixes of what may be asked for with it; none means whatever the hosts have.
    `proof` is a digest of what it was got with, by which another broker knows whether it would get the same.
    """

    scope: str
    identity_id: str
    hosts: tuple[str, ...]
    generation: Generation
    issued_at: datetime
    refresh_at: datetime | None
    not_after: datetime | None
    credential: RegistryCredential
    repositories: tuple[str, ...] = ()
    proof: str = ""
    private_ca_sha256: tuple[str, ...] = ()

    def covers(self, host: str) -> bool:
        """Whether the credential may be sent to `host`."""
        return host in self.hosts

    def meets(self, need: LeaseNeed) -> bool:
        """Whether the credential may be used for everything that the upstream will ask for."""
        is_known = need.private_ca_sha256.issubset(self.private_ca_sha256)
        is_reached = not self.repositories or need.repositories in self.repositories
        return self.covers(need.host) and is_known and is_reached

    def reaches(self, repository: str) -> bool:
        """Whether `repository`, as the upstream spells it, may be asked for with the credential."""
        return not self.repositories or any(
            repository == prefix or repository.startswith(f"{prefix}/") for prefix in self.repositories
        )

    def is_usable(self, now: datetime) -> bool:
        """Whether the credential has not ended by its own account."""
        return self.not_after is None or now < self.not_after
