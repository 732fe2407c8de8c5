"""Pages of tags and of repositories: `n` and `last` as specified, within limits (CVE-2023-2253)."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, urlencode

from vreg_proxy.distribution.replies import Problem
from vreg_shared.oci.errors import OciError
from vreg_shared.oci.reference import InvalidNameError, InvalidTagError, RepositoryName, Tag

MAX_NAMES: Final = 1000
MAX_QUERY_BYTES: Final = 1024
_MAX_DIGITS: Final = 4
_BAD_N: Final = Problem(OciError.TAG_INVALID, message=f"n must be a number from 0 to {MAX_NAMES}")
_BAD_LAST: Final = Problem(OciError.TAG_INVALID, message="last must be a tag")
_BAD_LAST_NAME: Final = Problem(OciError.NAME_INVALID, message="last must be a repository's name")
_BAD_QUERY: Final = Problem(OciError.TAG_INVALID, message="the query is malformed")


@dataclass(frozen=True, slots=True)
class Page:
    """At most `n` names after `last`."""

    n: int
    last: str | None

    def cut(self, names: Sequence[str], path: str) -> tuple[Sequence[str], bytes | None]:
        """Return this page of sorted names, and the Link to the next one at `path` if there is more."""
        start = bisect_right(names, self.last) if self.last is not None else 0
        page = names[start : start + self.n]
        if not page or start + self.n >= len(names):
            return page, None
        query = urlencode({"n": self.n, "last": page[-1]})
        return page, f'<{path}?{query}>; rel="next"'.encode()


def tags_page(query: bytes) -> Page | Problem:
    """Read the query of a list of tags; parameters we do not know are ignored."""
    try:
        return _page(query, lambda last: Tag.parse(last).value)
    except InvalidTagError:
        return _BAD_LAST


def repositories_page(query: bytes) -> Page | Problem:
    """Read the query of a list of repositories; parameters we do not know are ignored."""
    try:
        return _page(query, lambda last: RepositoryName.parse(last).value)
    except InvalidNameError:
        return _BAD_LAST_NAME


def _page(query: bytes, read_last: Callable[[str], str]) -> Page | Problem:
    if not query:
        return Page(MAX_NAMES, None)
    if len(query) > MAX_QUERY_BYTES:
        return _BAD_QUERY
    try:
        asked = dict(parse_qsl(query.decode("ascii"), max_num_fields=16))
    except ValueError:
        return _BAD_QUERY
    n = asked.get("n", str(MAX_NAMES))
    if not n.isascii() or not n.isdigit() or len(n) > _MAX_DIGITS or int(n) > MAX_NAMES:
        return _BAD_N
    last = asked.get("last")
    return Page(int(n), read_last(last) if last is not None else None)
