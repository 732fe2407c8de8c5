"""Answers the api's questions about the cache: one worker of all that share a folder answers for it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Protocol, TypeVar

import structlog
from pydantic import BaseModel, ValidationError

from vreg_proxy.cache import Cache, CacheStatistics, Content, Position, Selection
from vreg_shared.bus import BusPermissionError
from vreg_shared.errors import VregError
from vreg_shared.messages import cache as messages
from vreg_shared.oci.digest import Digest

REFUSED_SECONDS: Final = 30.0
_log = structlog.get_logger(__name__)
_Request = TypeVar("_Request", bound=BaseModel)
Answers = Callable[[bytes], Awaitable[bytes]]


class CacheRequestRejectedError(VregError):
    """The request cannot be read: the asker is of another version."""


class Responds(Protocol):
    """The part of the bus that is needed."""

    async def respond(self, subject: str, handler: Answers, queue: str) -> None:
        """Answer requests for ever; raise BusPermissionError."""
        ...


class CacheRequests:
    """The folder's id is the queue's name, so that each folder answers once, however many workers it has."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    async def run(self, bus: Responds) -> None:
        """Answer for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._respond(bus, messages.LIST_SUBJECT, self.page))
            group.create_task(self._respond(bus, messages.REMOVE_SUBJECT, self.remove))
            group.create_task(self._respond(bus, messages.STATISTICS_SUBJECT, self.statistics))

    async def page(self, payload: bytes) -> bytes:
        """Return a page of entries; raise CacheRequestRejectedError or CacheUnreadableError."""
        request = _read(messages.CacheListRequest, payload)
        after = Position(**request.after.model_dump()) if request.after is not None else None
        selection = _selection(request.selection) if request.selection is not None else None
        page = await self._cache.contents.page(selection, after, request.limit)
        return _encoded(
            messages.CacheListReply(
                folder=self._cache.folder_id, entries=tuple(_entry(content) for content in page)
            )
        )

    async def remove(self, payload: bytes) -> bytes:
        """Remove what is selected, and tell how much; raise as `page` does."""
        request = _read(messages.CacheRemoveRequest, payload)
        removed = await self._cache.contents.remove(_selection(request.selection))
        _log.info("cache_removed", **request.selection.model_dump(), entries=removed.entries)
        reply = messages.CacheRemoveReply(
            folder=self._cache.folder_id, entries=removed.entries, bytes=removed.bytes
        )
        return _encoded(reply)

    async def statistics(self, _payload: bytes) -> bytes:
        """Return the counts of all workers of the folder."""
        return _encoded(_statistics(self._cache.folder_id, await self._cache.statistics.snapshot()))

    async def _respond(self, bus: Responds, subject: str, answer: Answers) -> None:
        """Answer for ever. A bus that forbids it is asked again: its grants may be mended while we serve."""
        while True:
            try:
                await bus.respond(subject, answer, self._cache.folder_id)
            except BusPermissionError as error:
                _log.error("bus_refuses_requests", bus_subject=subject, reason=str(error))
            await asyncio.sleep(REFUSED_SECONDS)


def _read(kind: type[_Request], payload: bytes) -> _Request:
    try:
        return kind.model_validate_json(payload)
    except ValidationError as error:
        raise CacheRequestRejectedError("the question about the cache cannot be read") from error


def _encoded(reply: BaseModel) -> bytes:
    return reply.model_dump_json().encode()


def _selection(asked: messages.CacheSelection) -> Selection:
    digest = Digest.parse(asked.digest) if asked.digest is not None else None
    return Selection(asked.upstream_id, asked.repository, digest)


def _entry(content: Content) -> messages.CacheEntry:
    at = content.position
    return messages.CacheEntry(
        position=messages.CachePosition(
            upstream_id=at.upstream_id, repository=at.repository, digest=at.digest, kind=at.kind
        ),
        media_type=content.media_type,
        size=content.size,
        last_used=content.last_used,
        tags=content.tags[: messages.MOST_TAGS],
    )


def _statistics(folder: str, told: CacheStatistics) -> messages.CacheStatisticsReply:
    return messages.CacheStatisticsReply(
        folder=folder,
        served=tuple(
            messages.ServedCount(
                registry_id=each.registry_id,
                upstream_id=each.upstream_id,
                hit=each.hit.value,
                answers=each.answers,
                bytes=each.bytes,
            )
            for each in told.served
        ),
        fetched_bytes={each.upstream_id: each.bytes for each in told.fetched},
        held={
            each.upstream_id: messages.HeldContent(entries=each.entries, bytes=each.bytes)
            for each in told.held
        },
        entries=told.entries,
        bytes=told.bytes,
        evicted_entries=told.evicted_entries,
        evicted_bytes=told.evicted_bytes,
        quarantined=told.quarantined,
    )
