"""Lists, page by page: in the order of making, from an opaque cursor."""

import base64
import binascii
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Generic, TypeVar

from fastapi import Query
from pydantic import BaseModel, Field

from vreg_api import problems

MAX_LIMIT: Final = 1000
DEFAULT_LIMIT: Final = 100
_CURSOR: Final = re.compile(r"after:([0-9A-HJKMNP-TV-Z]{26})", re.ASCII)

ItemT = TypeVar("ItemT")
FoundT = TypeVar("FoundT")


@dataclass(frozen=True, slots=True)
class PageRequest:
    """Which page is wanted. `after` is the last id of the page before."""

    limit: int = DEFAULT_LIMIT
    after: str | None = None
    name: str | None = None


class Page(BaseModel, Generic[ItemT]):
    """Some of the list. `next_cursor` is missing from the last page."""

    items: list[ItemT]
    next_cursor: str | None = Field(
        default=None, description="Give it as `cursor` to read on; null at the end of the list."
    )


def page_request(
    limit: Annotated[
        int, Query(ge=1, le=MAX_LIMIT, description="How many to return at most.")
    ] = DEFAULT_LIMIT,
    cursor: Annotated[
        str | None, Query(max_length=100, description="`next_cursor` of the page before.")
    ] = None,
    name: Annotated[
        str | None, Query(max_length=255, description="Only those whose name contains this.")
    ] = None,
) -> PageRequest:
    """Read the query; raise ProblemError."""
    if name is not None and "\0" in name:
        raise problems.invalid("name", "nul", "must not contain the NUL character")
    return PageRequest(limit, _after(cursor) if cursor is not None else None, name)


def page_of(
    found: Sequence[FoundT], asked: PageRequest, id_of: Callable[[FoundT], str]
) -> tuple[list[FoundT], str | None]:
    """Cut the one row too many that was asked for, and return the cursor that leads to it."""
    if len(found) <= asked.limit:
        return list(found), None
    shown = list(found[: asked.limit])
    return shown, _cursor(id_of(shown[-1]))


def _cursor(identifier: str) -> str:
    return base64.urlsafe_b64encode(f"after:{identifier}".encode()).decode().rstrip("=")


def _after(cursor: str) -> str:
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode(
            "ascii"
        )
    except (binascii.Error, ValueError):
        text = ""
    match = _CURSOR.fullmatch(text)
    if match is None:
        raise problems.invalid("cursor", "invalid_cursor", "is not a cursor of this list; begin without one")
    return match[1]
