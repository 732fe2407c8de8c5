"""Hosts that no cloud's grammar describes: a DNS name or literal address, with a port if any."""

import ipaddress
import re
from dataclasses import dataclass
from typing import Final, Self

from vreg_shared.provider import InvalidHostError

_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_NAME: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*", re.ASCII)
_SPLIT: Final = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[^:\[\]]+)(?::(?P<port>[0-9]{1,5}))?", re.ASCII)
_MAX_LENGTH: Final = 253
_MAX_PORT: Final = 65535


@dataclass(frozen=True, slots=True)
class OciHost:
    """A host's name and port; port None means 443."""

    name: str
    port: int | None

    @classmethod
    def parse(cls, host: str) -> Self:
        """Read a lower-case host; raise InvalidHostError unless all of it is a name or address and port."""
        match = _SPLIT.fullmatch(host)
        if match is None or len(host) > _MAX_LENGTH:
            raise InvalidHostError("a host is a DNS name with an optional port, without scheme and path")
        name, port = match["name"], match["port"]
        if port is not None and not 0 < int(port) <= _MAX_PORT:
            raise InvalidHostError("a port is a number from 1 to 65535")
        if not (_is_address(name.strip("[]")) or _is_name(name)):
            raise InvalidHostError("a host is a DNS name with an optional port, without scheme and path")
        return cls(name, int(port) if port is not None else None)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_name(text: str) -> bool:
    # Some resolvers read a last label of digits, or of hex, as an address.
    last = text.rpartition(".")[2]
    return _NAME.fullmatch(text) is not None and not last.isdigit() and not last.startswith("0x")


def is_oci_host(host: str) -> bool:
    """Whether the whole of a lower-case host is well formed."""
    try:
        OciHost.parse(host)
    except InvalidHostError:
        return False
    return True
