"""Pages of tags: `n` and `last` of the distribution specification, within limits (CVE-2023-2253)."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, urlencode

from vreg_proxy.distribution.replies import Problem
from vreg_shared.oci.errors import OciError
from vreg_shared.oci.reference import InvalidTagError, Tag

MAX_TAGS: Final = 1000
MAX_QUERY_BYTES: Final = 1024
_MAX_DIGITS: Final = 4
_BAD_N: Final = Problem(OciError.TAG_INVALID, message=f"n must be a number from 0 to {MAX_TAGS}")
_BAD_LAST: Final = Problem(OciError.TAG_INVALID, message="last must be a tag")
_BAD_QUERY: Final = Problem(OciError.TAG_INVALID, message="the query is malformed")


@dataclass(frozen=True, slots=True)
class Page:
    """At most `n` tags after `last`."""

    n: int
    last: str | None

    def cut(self, names: Sequence[str], repository: str) -> tuple[Sequence[str], bytes | None]:
        """Return this page of sorted names, and the Link to the next one if there is more."""
        start = bisect_right(names, self.last) if self.last is not None else 0
        page = names[start : start + self.n]
        if not page or start + self.n >= len(names):
            return page, None
        query = urlencode({"n": self.n, "last": page[-1]})
        return page, f'</v2/{repository}/tags/list?{query}>; rel="next"'.encode()


def page_of(query: bytes) -> Page | Problem:
    """Read a query; parameters we do not know are ignored."""
    if not query:
        return Page(MAX_TAGS, None)
    if len(query) > MAX_QUERY_BYTES:
        return _BAD_QUERY
    try:
        asked = dict(parse_qsl(query.decode("ascii"), max_num_fields=16))
    except ValueError:
        return _BAD_QUERY
    n = asked.get("n", str(MAX_TAGS))
    if not n.isascii() or not n.isdigit() or len(n) > _MAX_DIGITS or int(n) > MAX_TAGS:
        return _BAD_N
    last = asked.get("last")
    try:
        return Page(int(n), Tag.parse(last).value if last is not None else None)
    except InvalidTagError:
        return _BAD_LAST
