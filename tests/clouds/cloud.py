"""One emulated cloud, as the world sees it: a folder here whose module `cloud` has a function `cloud(parts)`.

What a test may do to it is its control; the world finds the folder by itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from tests.clouds.clock import CloudClock
from tests.clouds.content import ContentStore
from tests.clouds.oidc import TokenVerifier
from tests.clouds.wire import Service


class Asks(Protocol):
    """HTTPS as the clouds speak it: through the same gateway, trusting the test authority alone."""

    async def post(self, url: str, headers: Mapping[str, str]) -> str:
        """Send a POST without a body; return the body of a success, and raise OSError for anything else."""
        ...


@dataclass(frozen=True, slots=True)
class Parts:
    """What every cloud is made from. `verifier` asks issuers for their keys as real clouds do: over HTTPS.

    `asks` is how one cloud asks another.
    """

    clock: CloudClock
    content: ContentStore
    verifier: TokenVerifier
    asks: Asks


class Cloud(Protocol):
    """`local` are services that a machine in this cloud reaches in clear: metadata servers and such."""

    @property
    def control(self) -> object: ...

    @property
    def local(self) -> Mapping[str, Service]: ...

    def find(self, host: str) -> Service | None:
        """Return what answers under a lower-case host name, or None if this cloud has no such name."""
        ...
