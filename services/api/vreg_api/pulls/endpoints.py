"""`/pulls`: who pulled what from where, for a short while."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from pydantic import AfterValidator, StringConstraints

from vreg_api.fields import in_utc
from vreg_api.paging import DEFAULT_LIMIT, MAX_LIMIT, Page
from vreg_api.pulls.schemas import PullFilter, PullView
from vreg_api.pulls.service import PullLog

Word = Annotated[str, StringConstraints(max_length=600, pattern=r"^[^\x00]*$")]
Time = Annotated[datetime, AfterValidator(in_utc)]


def wanted_pulls(  # noqa: PLR0913 - one for each thing to filter by
    *,
    access_id: Annotated[Word | None, Query(description="The access token's id.")] = None,
    registry: Annotated[Word | None, Query(description="A virtual registry's id.")] = None,
    upstream: Annotated[Word | None, Query(description="An upstream's id.")] = None,
    repository: Annotated[
        Word | None, Query(description="The repository, without the registry's slug.")
    ] = None,
    digest: Annotated[Word | None, Query(description="As sha256:…")] = None,
    since: Annotated[Time | None, Query(description="Not before this time; without zone it is UTC.")] = None,
    until: Annotated[Time | None, Query(description="Before this time.")] = None,
) -> PullFilter:
    """Read the query."""
    return PullFilter(
        access_id=access_id,
        registry=registry,
        upstream=upstream,
        repository=repository,
        digest=digest,
        since=since,
        until=until,
    )


def router(log: PullLog) -> APIRouter:
    """Return the room's endpoints."""
    routes = APIRouter(tags=["audit"])

    @routes.get("/pulls")
    async def list_pulls(
        wanted: Annotated[PullFilter, Depends(wanted_pulls)],
        limit: Annotated[
            int, Query(ge=1, le=MAX_LIMIT, description="How many to return at most.")
        ] = DEFAULT_LIMIT,
        cursor: Annotated[
            str | None, Query(pattern=r"^\d{1,18}$", description="`next_cursor` of the page before.")
        ] = None,
    ) -> Page[PullView]:
        """List pulls, newest first. Equal ones of about one second are one item, with their `count`."""
        found = await log.page(wanted, int(cursor) if cursor is not None else None, limit + 1)
        shown = list(found[:limit])
        return Page(items=shown, next_cursor=str(shown[-1].id) if len(found) > limit else None)

    return routes
