"""`Link: <…>; rel="next"`, by the grammar of RFC 8288 section 3, for pages of tags."""

import re
from collections.abc import Iterable
from typing import Final

from yarl import URL

from vreg_shared.egress import Destination, EgressRefusedError
from vreg_shared.errors import VregError
from vreg_shared.registry_client.redirects import next_hop

MAX_LENGTH: Final = 8192
_LINK: Final = re.compile(r'<([^<>]*)>((?:\s*;\s*[^\s=;,]+(?:\s*=\s*(?:"[^"]*"|[^\s;,"]*))?)*)')
_REL: Final = re.compile(r';\s*rel\s*=\s*(?:"([^"]*)"|([^\s;,"]*))', re.IGNORECASE)


class PageLinkRejectedError(VregError):
    """The next page is said to be somewhere else than on the same registry."""


def next_page(values: Iterable[str], current: URL) -> str | None:
    """Return path and query of the next page, verbatim, or None after the last one.

    Raises PageLinkRejectedError unless it has the scheme, host and port of `current`.
    """
    target = _next_target(values)
    if target is None:
        return None
    try:
        following = next_hop(current, target)
    except EgressRefusedError as error:
        raise PageLinkRejectedError("the link to the next page is malformed") from error
    if Destination.of(following) != Destination.of(current):
        raise PageLinkRejectedError("the link to the next page leads to another host")
    return following.raw_path_qs


def _next_target(values: Iterable[str]) -> str | None:
    for value in values:
        if len(value) > MAX_LENGTH:
            raise PageLinkRejectedError(f"the Link header is longer than {MAX_LENGTH} characters")
        for match in _LINK.finditer(value):
            rel = _REL.search(match[2])
            if rel is not None and "next" in (rel[1] or rel[2] or "").lower().split():
                return match[1]
    return None
