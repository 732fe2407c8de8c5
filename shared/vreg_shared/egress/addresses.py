"""What an IP address is to us: public, private, or never to be connected to.

Python's `is_global` is not enough: it is True for NAT64, 6to4, `fec0::/10`, Azure's 168.63.129.16 and, on
some versions, Oracle's 192.0.0.192. So everything not known to be public is named here or refused.
"""

import ipaddress
from enum import StrEnum
from typing import Final

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Reach(StrEnum):
    """How far an address reaches; the order of checks is the order of danger."""

    PUBLIC = "public"
    PRIVATE = "private"
    """RFC 1918, unique local and carrier-grade NAT: where PrivateLink and private registries live."""
    FORBIDDEN = "special-purpose"
    """Loopback, link-local, multicast, reserved, unspecified, tunnels."""
    METADATA = "a cloud's metadata service"


METADATA: Final = frozenset(
    ipaddress.ip_address(text)
    for text in (
        "169.254.169.254",  # AWS, Google, Azure, Oracle, DigitalOcean, OpenStack
        "169.254.169.253",  # AWS DNS
        "169.254.169.123",  # AWS time
        "169.254.170.2",  # ECS task credentials
        "169.254.170.23",  # EKS Pod Identity
        "168.63.129.16",  # Azure wire server
        "192.0.0.192",  # Oracle
        "100.100.100.200",  # Alibaba
        "fd00:ec2::254",
        "fd00:ec2::23",  # EKS Pod Identity
        "fd20:ce::254",  # Google
    )
)
_METADATA_NETWORKS: Final = (ipaddress.ip_network("fd00:ec2::/32"), ipaddress.ip_network("fd20:ce::/32"))
_PRIVATE: Final = tuple(
    map(
        ipaddress.ip_network,
        ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"),
    )
)
# https://www.iana.org/assignments/iana-ipv4-special-registry
_SPECIAL_4: Final = tuple(
    map(
        ipaddress.ip_network,
        (
            "0.0.0.0/8",
            "127.0.0.0/8",
            "169.254.0.0/16",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.31.196.0/24",
            "192.52.193.0/24",
            "192.88.99.0/24",
            "192.175.48.0/24",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/3",
        ),
    )
)
_PUBLIC_6: Final = ipaddress.ip_network("2000::/3")
# Tunnels embed an IPv4 address that some router could unpack; nothing of ours is reached through them.
_SPECIAL_6: Final = tuple(
    map(ipaddress.ip_network, ("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20"))
)
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
_ISATAP: Final = frozenset({0x0000_5EFE, 0x0200_5EFE})


def effective(address: Address) -> Address:
    """Return the IPv4 address that a v4-mapped or NAT64 address really leads to, or the address itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


def reach(address: Address) -> Reach:
    """Classify an address by where it really leads. Total: what no table knows is forbidden."""
    target = effective(address)
    if target in METADATA or any(target in network for network in _METADATA_NETWORKS):
        return Reach.METADATA
    if any(target in network for network in _PRIVATE):
        return Reach.PRIVATE
    return Reach.PUBLIC if _is_public(target) else Reach.FORBIDDEN


def _is_public(target: Address) -> bool:
    if isinstance(target, ipaddress.IPv4Address):
        return not any(target in network for network in _SPECIAL_4)
    if target.scope_id is not None or (int(target) >> 32) & 0xFFFF_FFFF in _ISATAP:
        return False
    return target in _PUBLIC_6 and not any(target in network for network in _SPECIAL_6)
