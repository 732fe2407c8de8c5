"""What the contract kit asks of a provider: a small world in which each of its auth methods works, and knobs.

`tests/contract/stages/<provider>.py` has a function `stage(clouds) -> Stage`; the kit finds it by the
provider's name, and a provider without one fails.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from vreg_shared.auth_method import AuthMethod, UsableFor


@dataclass(frozen=True, slots=True)
class Applicant:
    """What vreg tells the cloud's administrator of an identity before it is trusted."""

    identity_id: str
    external_id: str
    subject: str
    issuer_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """An auth method that works, and an image that it may read below `prefix` of `host`.

    `environment` is what the platform tells a process there of its identity, for ambient methods. `services`
    are the names of the emulated services that an exchange talks to, in their order, for faults; none when
    nobody is asked. `secrets` are texts that must never show anywhere.
    """

    method: AuthMethod
    usable_for: UsableFor
    kind: str
    host: str
    repository: str
    tag: str
    digest: str
    prefix: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    services: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()


class Stage(Protocol):
    """One provider's world; every call takes effect at once."""

    def prepare(self, tag: str, applicant: Applicant) -> Prepared:
        """Let the cloud trust this applicant by the auth method of this tag; push an image for it to read."""
        ...

    def push(self, prepared: Prepared, seed: str, tag: str) -> str:
        """Push an image made from `seed` to where `prepared` may read; return its digest."""
        ...

    def set_life(self, seconds: float) -> None:
        """Let registry credentials given out from now on live so long, where the cloud ends them at all."""
        ...

    def granted(self) -> int:
        """Return how many registry credentials the cloud has given out so far, by its own count."""
        ...

    def end_credentials(self) -> None:
        """Let every registry credential given out so far be dead now."""
        ...

    def refuse(self, prepared: Prepared) -> None:
        """Take the trust or the permission away, so that the next exchange, or the registry, says no."""
        ...

    def replace(self, prepared: Prepared) -> Prepared:
        """Change the credential: what was trusted is no longer, and what is returned is.

        Keyless and ambient methods have no credential; there the trust moves, as to another role.
        """
        ...
