"""Redirects, followed by hand: https only, a few hops, and the credential goes to the first alone."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urljoin

import aiohttp
from yarl import URL

from vreg_shared.egress import EgressRefusedError, read_url
from vreg_shared.registry_client.transport import Transport, discard, unavailable
from vreg_shared.secret import Secret

MAX_HOPS: Final = 5
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True)
class Arrival:
    """The last answer of a chain. `redirected` says that it is not the registry's own.

    `authorization` is what its first request carried.
    """

    response: aiohttp.ClientResponse
    redirected: bool
    authorization: Secret | None = None


def next_hop(current: URL, location: str) -> URL:
    """Return where a Location leads, byte for byte, for it may be signed; raise EgressRefusedError."""
    if _SCHEME.match(location):
        return read_url(location)
    if location.startswith("//"):
        return read_url(f"https:{location}")
    if location.startswith("/"):
        return read_url(f"{current.scheme}://{current.raw_authority}{location}")
    return read_url(urljoin(str(current), location))


async def follow(
    transport: Transport, method: str, url: URL, headers: Mapping[str, str], authorization: Secret | None
) -> Arrival:
    """Send a request and go where it is sent on; raise RequestFailedError.

    The answer's status is anything but a redirect. `authorization` never travels past the first hop, not
    even to the same host: storage refuses it, and nothing that is redirected to needs it.
    """
    first = {**headers, "Authorization": authorization.reveal()} if authorization is not None else headers
    response = await transport.send(method, url, first)
    for hop in range(MAX_HOPS + 1):
        if response.status not in _REDIRECTS:
            return Arrival(response, redirected=hop > 0, authorization=authorization)
        url = await _location(response, url)
        if hop < MAX_HOPS:
            response = await transport.send(method, url, headers)
    raise unavailable("too_many_redirects", f"more than {MAX_HOPS}")


async def _location(response: aiohttp.ClientResponse, current: URL) -> URL:
    locations = response.headers.getall("Location", [])
    await discard(response)
    if len(locations) != 1:
        raise unavailable("bad_redirect", "a redirect needs one Location")
    try:
        return next_hop(current, locations[0])
    except EgressRefusedError as error:
        raise unavailable("egress_refused", f"redirect: {error}") from error
