"""The pure rules of where we may connect: everything that can be decided without a socket.

Direct: any public address, but an address no operator listed is never private or special. Through a forward
proxy we cannot see the address, so there the name must be on the list of this upstream or of the operator.
"""

import ssl
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Final, Self

from yarl import URL

from vreg_shared.egress.addresses import Address, Network, Reach, effective, reach
from vreg_shared.egress.destination import HTTPS_PORT, Destination, EgressRefusedError
from vreg_shared.egress.proxy import EgressProxy, InvalidProxyError
from vreg_shared.settings import EgressSettings, SettingsError

_LOCAL_NAMES: Final = (
    "localhost",
    "*.localhost",
    "localhost.localdomain",
    "metadata",
    "metadata.google.internal",
    "metadata.goog",
    "instance-data",
    "instance-data.*",
)
"""Names that lead to the proxy's own machine or its cloud's metadata."""


@dataclass(frozen=True, slots=True)
class EgressScope:
    """What one upstream needs: the names that are its own (exact or globs), and the ports it may use.

    `may_be_private` holds for these names only, so a redirect elsewhere stays public.
    """

    names: tuple[str, ...] = ()
    ports: frozenset[int] = frozenset({HTTPS_PORT})
    may_be_private: bool = False

    def has(self, name: str) -> bool:
        """Whether a lower-case name is one of ours."""
        return any(fnmatchcase(name, pattern.lower()) for pattern in self.names)


@dataclass(frozen=True, slots=True)
class EgressPolicy:
    """The operator's settings, and the scope they are applied to. All checks are pure.

    `allowed_cidrs` open private, loopback and link-local networks; a metadata address opens only when
    listed alone (`/32`, `/128`), so that a wide network never opens it by accident. `ca_pem` holds extra
    roots, added to the system's.
    """

    allowed_cidrs: tuple[Network, ...] = ()
    allowed_names: tuple[str, ...] = ()
    proxy: EgressProxy | None = None
    ca_pem: str | None = None
    scope: EgressScope = EgressScope()

    @classmethod
    def from_settings(cls, settings: EgressSettings) -> Self:
        """Read the operator's settings and the CA bundle; raise SettingsError naming the setting."""
        return cls(
            settings.egress_allowed_cidrs,
            tuple(name.lower() for name in settings.egress_allowed_names),
            _proxy(settings),
            _ca_pem(settings),
        )

    def scoped(self, scope: EgressScope) -> Self:
        """Return the same policy for one upstream's names and ports."""
        return replace(self, scope=scope)

    def check_url(self, url: URL) -> Destination:
        """Return where `url` leads, when that is permitted so far; raise EgressRefusedError.

        For a name that we resolve ourselves, `check_address` has the last word.
        """
        destination = Destination.of(url)
        if destination.port not in self.scope.ports:
            raise EgressRefusedError(f"{destination}: port {destination.port} is not a port of this upstream")
        if self.proxy is not None and self.proxy.is_itself(destination.name, destination.port):
            raise EgressRefusedError(f"{destination} is the egress proxy itself")
        if self.carried(destination):
            self._check_name(destination)
        elif destination.literal is not None and not self._is_listed(destination.literal):
            raise EgressRefusedError(
                f"{destination} is a literal address; use a name, or add it to VREG_EGRESS_ALLOWED_CIDRS"
            )
        return destination

    def carried(self, destination: Destination) -> bool:
        """Whether the forward proxy resolves and connects for us."""
        return self.proxy is not None and self.proxy.carries(destination)

    def check_address(self, name: str, address: Address) -> None:
        """Raise EgressRefusedError unless `name`, which resolved to `address`, may be connected to there."""
        kind = reach(address)
        if kind is Reach.PUBLIC or self._is_listed(address):
            return
        if kind is Reach.PRIVATE and self.scope.may_be_private and self.scope.has(name.lower()):
            return
        raise EgressRefusedError(
            f"{name} resolves to {address}, which is {kind}; if that is meant, "
            "add its network to VREG_EGRESS_ALLOWED_CIDRS"
        )

    def _check_name(self, destination: Destination) -> None:
        if destination.literal is not None:
            raise EgressRefusedError(f"{destination}: literal addresses are not sent through the proxy")
        name = destination.name
        if any(fnmatchcase(name, pattern) for pattern in self.allowed_names):
            return
        if not self.scope.has(name) or any(fnmatchcase(name, pattern) for pattern in _LOCAL_NAMES):
            raise EgressRefusedError(
                f"{name} is not on the list of names reached through the proxy; "
                "if that is meant, add it to VREG_EGRESS_ALLOWED_NAMES"
            )

    def _is_listed(self, address: Address) -> bool:
        target, is_metadata = effective(address), reach(address) is Reach.METADATA
        return any(
            (target.version == network.version and target in network)
            and (not is_metadata or network.prefixlen == network.max_prefixlen)
            for network in self.allowed_cidrs
        )


def _proxy(settings: EgressSettings) -> EgressProxy | None:
    if not settings.https_proxy:
        return None
    try:
        return EgressProxy.parse(settings.https_proxy, settings.no_proxy)
    except InvalidProxyError as error:
        raise SettingsError(str(error)) from error


def _ca_pem(settings: EgressSettings) -> str | None:
    if settings.ca_bundle is None:
        return None
    try:
        pem = settings.ca_bundle.read_text(encoding="ascii")
        ssl.create_default_context(cadata=pem)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise SettingsError(
            f"VREG_CA_BUNDLE: {settings.ca_bundle} is not a readable file of PEM certificates"
        ) from error
    return pem
