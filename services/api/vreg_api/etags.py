"""Optimistic changes: a version as an ETag, and which version a caller means to change."""

import re
from typing import Annotated, Final

from fastapi import Header

from vreg_api.problems import MALFORMED, PRECONDITION_REQUIRED, ProblemError, version_mismatch

_LIST: Final = re.compile(r'\s*(?:W/)?"[^"\x00-\x20\x7f]*"\s*(?:,\s*(?:W/)?"[^"\x00-\x20\x7f]*"\s*)*')
_TAG: Final = re.compile(r'(W/)?"([^"]*)"')

IfMatch = Annotated[
    str | None,
    Header(alias="If-Match", description="The ETag of the version to change.", examples=['"3"']),
]


class Precondition:
    """The versions a caller would have changed; any, if it said `*` or (when deleting) nothing."""

    def __init__(self, header: str | None) -> None:
        self._tags = None if header is None or header.strip() == "*" else _strong_tags(header)

    def require(self, version: int, noun: str) -> None:
        """Return quietly if `version` is one of them; raise ProblemError (412) otherwise."""
        if self._tags is not None and str(version) not in self._tags:
            raise version_mismatch(noun)


def etag(version: int) -> str:
    """Return the ETag of a version."""
    return f'"{version}"'


def required(header: str | None) -> Precondition:
    """Read an If-Match that must be there; raise ProblemError (428, 400)."""
    if header is None:
        detail = "send If-Match with the ETag you read, so that nobody's change is lost"
        raise ProblemError(PRECONDITION_REQUIRED, detail)
    return Precondition(header)


def _strong_tags(header: str) -> frozenset[str]:
    """Return the tags that can match: weak ones never do here (RFC 9110, 13.1.1)."""
    if _LIST.fullmatch(header) is None:
        raise ProblemError(MALFORMED, 'If-Match: write it as "<version>", with the quotes')
    return frozenset(tag for weak, tag in _TAG.findall(header) if not weak)
