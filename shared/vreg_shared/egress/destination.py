"""Reading a URL as a destination, so that no two parsers can disagree about where it leads."""

import ipaddress
import re
from dataclasses import dataclass
from typing import Final, Self

from yarl import URL

from vreg_shared.egress.addresses import Address
from vreg_shared.errors import VregError

HTTPS_PORT: Final = 443
MAX_URL_LENGTH: Final = 16_384
# Underscores occur in bucket names; a trailing dot or an empty label never does.
_NAME: Final = re.compile(r"(?=.{1,253}\Z)[a-z0-9_](?:[a-z0-9_-]{0,62})(?:\.[a-z0-9_][a-z0-9_-]{0,62})*")
# getaddrinfo reads all of these as addresses: 127.1, 0x7f000001, 0177.0.0.1, 2130706433.
_LOOKS_NUMERIC: Final = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)")
_VISIBLE: Final = re.compile(r"[\x21-\x5b\x5d-\x7e]+")  # no backslash: some parsers read it as a slash
_URL: Final = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<authority>[^/?#]*)(?P<rest>[^#]*)", re.IGNORECASE
)


class EgressRefusedError(VregError):
    """We may not connect there; the text says which rule and, if there is one, which setting permits it."""


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a URL leads: a lower-case DNS name or a literal address, and a port."""

    name: str
    port: int
    literal: Address | None

    @classmethod
    def of(cls, url: URL) -> Self:
        """Read an https URL; raise EgressRefusedError for anything that has two readings."""
        if url.scheme != "https":
            raise EgressRefusedError("only https is spoken to upstreams")
        host, port = _authority(url)
        if url.raw_user is not None or url.raw_password is not None:
            raise EgressRefusedError("a URL with a user name or password in it is refused")
        if port == 0:
            raise EgressRefusedError("port 0 is no port")
        literal = literal_address(host)
        if literal is None and (_NAME.fullmatch(host) is None or _LOOKS_NUMERIC.fullmatch(host)):
            raise EgressRefusedError(f"{host!r} is neither a DNS name nor an address in its usual form")
        return cls(host, port, literal)

    def __str__(self) -> str:
        host = f"[{self.name}]" if ":" in self.name else self.name
        return host if self.port == HTTPS_PORT else f"{host}:{self.port}"


def _authority(url: URL) -> tuple[str, int]:
    try:
        return (url.raw_host or "").lower(), HTTPS_PORT if url.explicit_port is None else url.explicit_port
    except ValueError as error:  # yarl reads the authority when it is asked for
        raise EgressRefusedError("the URL is malformed") from error


def literal_address(host: str) -> Address | None:
    """Return the address `host` is in its usual form, or None; a zone (`%eth0`) is no usual form."""
    try:
        return ipaddress.ip_address(host) if "%" not in host else None
    except ValueError:
        return None


def read_url(text: str) -> URL:
    """Return an https URL whose path and query stay byte for byte; raise EgressRefusedError.

    The authority may hold only a host and a port: characters that some parser would strip, decode or
    take as a separator (spaces, backslash, percent, `@`, non-ASCII) are refused, not repaired.
    """
    match = _URL.fullmatch(text.partition("#")[0]) if len(text) <= MAX_URL_LENGTH else None
    if match is None or _VISIBLE.fullmatch(text) is None:
        raise EgressRefusedError("the URL is malformed or too long")
    if match["scheme"].lower() != "https":
        raise EgressRefusedError("only https is spoken to upstreams")
    authority = match["authority"]
    if not authority or set(authority) & set("@%"):
        raise EgressRefusedError("a URL's authority is a host and a port, nothing else")
    try:
        url = URL(text.partition("#")[0], encoded=True)
    except ValueError as error:
        raise EgressRefusedError("the URL is malformed") from error
    if url.raw_path_qs != "/" + match["rest"].removeprefix("/"):
        raise EgressRefusedError("the URL could not be sent as it is written")
    Destination.of(url)
    return url
