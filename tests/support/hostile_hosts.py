"""Spellings of places an upstream must not lead us to, and a record of every connection that is tried."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

ADDRESSES = (
    "127.0.0.1",
    "127.255.255.254",
    "0.0.0.0",  # noqa: S104 - an address to refuse
    "10.0.0.1",
    "10.255.255.255",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.0.1",
    "100.64.0.1",
    "100.100.100.200",
    "169.254.169.254",
    "169.254.170.2",
    "169.254.170.23",
    "168.63.129.16",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:10.0.0.1",
    "::ffff:0:127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b::10.0.0.1",
    "64:ff9b:1::7f00:1",
    "100::1",
    "2001::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:a9fe:a9fe::1",
    "2600::5efe:127.0.0.1",
    "2600::200:5efe:10.0.0.1",
    "3fff::1",
    "fc00::1",
    "fd00:ec2::254",
    "fd00:ec2::23",
    "fd20:ce::254",
    "fdab::1",
    "fe80::1",
    "febf::1",
    "fec0::1",
    "ff02::1",
    "5f00::1",
    "4000::1",
)
"""Addresses that no upstream may have unless the operator says so."""

SPELLINGS = (
    "2130706433",
    "0x7f000001",
    "0X7F000001",
    "017700000001",
    "0177.0.0.1",
    "0x7f.0.0.1",
    "0x7f.0x0.0x0.0x1",
    "127.1",
    "127.0.1",
    "0",
    "0.0",
    "127.000.000.001",
    "127.0.0.1.",
    "127.0.0.1..",
    "2852039166",
    "0xa9fea9fe",
    "0xa9.0xfe.0xa9.0xfe",
    "0251.0376.0251.0376",
    "169.254.43518",
    "169.16689662",
    "169.254.169.254.",
    "1.2.3.4.5",
    "127.0.0.1%00.example.com",
    "127.0.0.1%2eexample.com",
    "%31%32%37.0.0.1",
    "①②⑦.⓪.⓪.①",
    "127。0。0。1",
    "１２７.0.0.1",  # noqa: RUF001 - the same
    "127．0．0．1",  # noqa: RUF001 - the same
    "localhoﬆ",
    "[::1%25lo]",
    "[fe80::1%25eth0]",
    "[::1",
    "::1",
    "[127.0.0.1]",
    "localhost.",
    "metadata.google.internal.",
    "a b",
    "a\tb",
    "a\\b",
    "user@127.0.0.1",
    "user:secret@127.0.0.1",
    "example.com\\@127.0.0.1",
    "-",
    ".",
    "..",
    "",
)
"""Hosts that some parser reads as a local address, or that no careful parser reads at all."""


LOCAL_NAMES = ("localhost", "LOCALHOST", "ip6-localhost")
"""Well-formed names of this machine: their addresses are what is refused."""


def hosts() -> tuple[str, ...]:
    """Return every spelling as it stands in a URL."""
    return (*(f"[{one}]" if ":" in one else one for one in ADDRESSES), *SPELLINGS, *LOCAL_NAMES)


_watching: list[list[object]] = []


def _on_event(event: str, arguments: tuple[object, ...]) -> None:
    if event == "socket.connect" and _watching:
        for tried in _watching:
            tried.append(arguments[1])


sys.addaudithook(_on_event)


@contextmanager
def connections_tried() -> Iterator[list[object]]:
    """Yield a list that receives the address of every connect this process tries, succeed or not."""
    tried: list[object] = []
    _watching.append(tried)
    try:
        yield tried
    finally:
        _watching.remove(tried)
