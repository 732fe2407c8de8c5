"""The operator's forward proxy: HTTPS_PROXY, and what NO_PROXY exempts from it."""

import ipaddress
from dataclasses import dataclass, field
from typing import Final, Self

from yarl import URL

from vreg_shared.egress.addresses import Network
from vreg_shared.egress.destination import Destination
from vreg_shared.errors import VregError
from vreg_shared.provider import basic_authorization
from vreg_shared.secret import Secret

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


class InvalidProxyError(VregError):
    """HTTPS_PROXY or NO_PROXY cannot be read."""


@dataclass(frozen=True, slots=True)
class Exemption:
    """One entry of NO_PROXY: a name and all names below it, or a network; with a port, if given."""

    name: str = ""
    network: Network | None = None
    port: int | None = None

    @classmethod
    def parse(cls, entry: str) -> Self:
        """Read `host`, `.domain`, `*.domain`, `*`, an address or a CIDR, each but the last with `:port`."""
        text = entry.strip().lower()
        network = _network(text)
        if network is not None:
            return cls(network=network)
        name, colon, port = text.rpartition(":")
        if not colon or not port.isdigit():
            name, port = text, ""
        network = _network(name.strip("[]"))
        bare = "" if network is not None else name.removeprefix("*").removeprefix(".")
        return cls(bare, network, int(port) if port else None)

    def covers(self, destination: Destination) -> bool:
        """Whether a request there goes past the proxy."""
        if self.port is not None and self.port != destination.port:
            return False
        if self.network is not None:
            return destination.literal is not None and destination.literal in self.network
        return not self.name or destination.name == self.name or destination.name.endswith(f".{self.name}")


def _network(text: str) -> Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class EgressProxy:
    """Where CONNECT goes. `authorization` is the value for Proxy-Authorization; `url` never holds it."""

    url: URL
    authorization: Secret | None = None
    exemptions: tuple[Exemption, ...] = field(default=())

    @classmethod
    def parse(cls, https_proxy: Secret, no_proxy: str = "") -> Self:
        """Read the two settings; raise InvalidProxyError without repeating a password."""
        text = https_proxy.reveal()
        try:
            url = URL(text if "://" in text else f"http://{text}")
        except ValueError as error:
            raise InvalidProxyError("HTTPS_PROXY is not a URL; write http://host:port") from error
        if url.scheme not in _DEFAULT_PORTS or not url.host:
            raise InvalidProxyError("HTTPS_PROXY must be http://host:port or https://host:port")
        authorization = None
        if url.user is not None:
            authorization = basic_authorization(url.user, Secret(url.password or ""))
        return cls(url.origin(), authorization, parse_no_proxy(no_proxy))

    @property
    def name(self) -> str:
        """The proxy's host, lower case."""
        return (self.url.raw_host or "").lower()

    @property
    def port(self) -> int:
        """The proxy's port."""
        return self.url.port or _DEFAULT_PORTS[self.url.scheme]

    def is_itself(self, name: str, port: int) -> bool:
        """Whether this is the proxy's own address, which the operator chose and no rule refuses."""
        return (name.lower(), port) == (self.name, self.port)

    def carries(self, destination: Destination) -> bool:
        """Whether a request there goes through the proxy."""
        return not any(exemption.covers(destination) for exemption in self.exemptions)


def parse_no_proxy(no_proxy: str) -> tuple[Exemption, ...]:
    """Read a comma-separated NO_PROXY."""
    return tuple(Exemption.parse(entry) for entry in no_proxy.split(",") if entry.strip())
