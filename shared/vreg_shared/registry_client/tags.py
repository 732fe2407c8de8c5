"""Lists of tags as answers: read leniently, for clouds add to them."""

import json
from typing import Final
from urllib.parse import quote

from vreg_shared.oci.reference import InvalidTagError, RepositoryName, Tag
from vreg_shared.registry_client.transport import unavailable

MAX_TAGS: Final = 100_000
"""In one list: an upstream may ignore the size of a page, but not fill our memory."""
MAX_PAGE: Final = 1000
"""ECR refuses more, and no client needs it."""


def tags_path(repository: RepositoryName, n: int | None, last: str | None) -> str:
    """Return path and query of the page of at most `n` tags after `last`."""
    pairs = [("n", str(min(n, MAX_PAGE)))] if n is not None else []
    pairs += [("last", last)] if last is not None else []
    query = "&".join(f"{name}={quote(value, safe='')}" for name, value in pairs)
    return f"/v2/{repository}/tags/list{'?' + query if query else ''}"


def tags_of(body: bytes) -> tuple[Tag, ...]:
    """Return the tags: clouds add fields, an empty list may be null, and a bad tag is left out.

    Raises RequestFailedError.
    """
    try:
        names = json.loads(body)["tags"] or []
        if len(names) > MAX_TAGS:
            raise unavailable("too_many_tags", f"more than {MAX_TAGS} in one answer")
        return tuple(tag for name in names if (tag := _tag(name)) is not None)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise unavailable("bad_answer", "the list of tags is not one") from error


def _tag(name: object) -> Tag | None:
    try:
        return Tag.parse(name) if isinstance(name, str) else None
    except InvalidTagError:
        return None
