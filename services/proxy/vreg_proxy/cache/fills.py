"""All fills of this process, each owned or followed by a task of the process.

There is one per blob and upstream: readers follow bytes that are not proved yet, at the pace they come, so a
slow or lying upstream must not touch those who were let in by another.
"""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog

from vreg_proxy.cache.body import Body
from vreg_proxy.cache.content_store import CacheUnwritableError, make_folder
from vreg_proxy.cache.endings import Ending, Failed, Unwritable
from vreg_proxy.cache.fill_follower import FillFollower, Next
from vreg_proxy.cache.fill_owner import FillOwner, Workshop, let_go
from vreg_proxy.cache.fill_record import FillFiles, FillRecord, has_followers
from vreg_proxy.cache.origin import Origin
from vreg_proxy.cache.running_hash import running_hash
from vreg_proxy.cache.source import BlobSource
from vreg_shared.oci.digest import Digest

SMALL: Final = 8 * 1024 * 1024
"""A rest of so many bytes is fetched even when nobody waits for it any more."""
BEGINNINGS: Final = 20
DESERTED_LOOK_SECONDS: Final = 0.5

_log: Final = structlog.get_logger(__name__)


class Fills:
    """Tasks live in the group given; a client that leaves ends a fill only when it was the last anywhere."""

    def __init__(
        self,
        folder: Path,
        workshop: Workshop,
        tasks: asyncio.TaskGroup,
        on_end: Callable[[Body, Ending], None],
    ) -> None:
        self._folder = folder
        self._workshop = workshop
        self._group = tasks
        self._on_end = on_end
        self._bodies: dict[FillFiles, Body] = {}
        self._running: dict[Body, asyncio.Task[None]] = {}

    def current(self, digest: Digest, origin: Origin) -> Body | None:
        """Return the fill from this origin's upstream that is going on in this process, if there is one."""
        return self._bodies.get(FillFiles.of(self._folder, digest, origin))

    def join(self, digest: Digest, origin: Origin, source: BlobSource) -> Body:
        """Join the blob's fill, or begin it with this source; whoever joins must leave the body."""
        files = FillFiles.of(self._folder, digest, origin)
        body = self._bodies.get(files)
        if body is None:
            body = self._begin(files, digest, origin, source)
        body.join()
        return body

    def stop(self) -> None:
        """Cancel every fill; those with readers in other processes go on there."""
        for task in tuple(self._running.values()):
            task.cancel()

    def reclaim(self, settled_seconds: float = 0.0) -> None:
        """Remove what dead processes left and nobody reads; files younger than that are left alone.

        Blocks on the disk.
        """
        settled = time.time() - settled_seconds
        for path in self._folder.glob("*.tmp"):
            if _is_older(path, settled) and not has_followers(path):
                path.unlink(missing_ok=True)
        for path in self._folder.glob("*.fill"):
            if not _is_older(path, settled):
                continue
            record = FillRecord.open(path)
            try:
                if record.try_own() and record.is_current:
                    let_go(path.with_suffix(".part"), record)
            finally:
                record.close()
        for path in self._folder.glob("*.part"):
            if (
                _is_older(path, settled)
                and not path.with_suffix(".fill").exists()
                and not has_followers(path)
            ):
                path.unlink(missing_ok=True)

    def _begin(self, files: FillFiles, digest: Digest, origin: Origin, source: BlobSource) -> Body:
        body = self._bodies[files] = Body(digest, lambda body: self._deserted(files, body))
        task = self._group.create_task(self._run(files, body, origin, source))
        self._running[body] = task
        task.add_done_callback(lambda _: self._ended(files, body))
        return body

    async def _run(self, files: FillFiles, body: Body, origin: Origin, source: BlobSource) -> None:
        ending: Ending = Failed("stopped")
        try:
            ending = await self._to_the_end(files, body, origin, source)
        except CacheUnwritableError:
            ending = Unwritable(0, running_hash(body.digest))
        except Exception:  # noqa: BLE001 - a bug must reach the readers, not end the task group
            _log.exception("fill_failed", digest=str(body.digest))
            ending = Failed("internal_error")
        finally:
            self._forget(files, body)
            self._on_end(body, ending)
            body.end(ending)

    async def _to_the_end(self, files: FillFiles, body: Body, origin: Origin, source: BlobSource) -> Ending:
        make_folder(self._folder)
        for _ in range(BEGINNINGS):
            record = FillRecord.open(files.record)
            try:
                outcome = await self._one_fill(files, record, body, origin, source)
            finally:
                record.close()
            if not isinstance(outcome, Next):
                return outcome
        return Failed("contended")

    async def _one_fill(
        self, files: FillFiles, record: FillRecord, body: Body, origin: Origin, source: BlobSource
    ) -> Ending | Next:
        if record.try_own():
            outcome: Ending | Next = _what_is_left(files, record)
        else:
            follower = FillFollower(self._workshop.store, self._workshop.executor, files, record, body)
            outcome = await follower.follow()
        if outcome is not Next.OWN:
            return outcome
        owner = FillOwner(
            workshop=self._workshop, files=files, record=record, body=body, origin=origin, source=source
        )
        return await owner.own()

    def _deserted(self, files: FillFiles, body: Body) -> None:
        """End a fill nobody waits for, unless it is over soon; look again later while others follow it."""
        task = self._running.get(body)
        if (
            body.interested
            or body.ending is not None
            or task is None
            or (body.is_ours and _is_nearly_done(body))
        ):
            return
        if body.is_ours and has_followers(files.part):
            asyncio.get_running_loop().call_later(DESERTED_LOOK_SECONDS, self._deserted, files, body)
            return
        self._forget(files, body)
        task.cancel()

    def _ended(self, files: FillFiles, body: Body) -> None:
        self._running.pop(body, None)
        self._forget(files, body)
        body.end(Failed("stopped"))

    def _forget(self, files: FillFiles, body: Body) -> None:
        if self._bodies.get(files) is body:
            del self._bodies[files]


def _is_older(path: Path, moment: float) -> bool:
    """Whether a file was last written before this; files keep the machine's time, so it is not a Clock's."""
    try:
        return path.stat().st_mtime <= moment
    except OSError:
        return False


def _is_nearly_done(body: Body) -> bool:
    if body.size is None:
        return False
    rest = body.size - body.available
    return rest < body.available or rest <= SMALL


def _what_is_left(files: FillFiles, record: FillRecord) -> Next:
    """Go on with what a dead owner left, unless it ended or is not the file the name means."""
    if not record.is_current:
        return Next.BEGIN_AGAIN
    if record.ending is not None:
        record.remove_with(files.part)
        return Next.BEGIN_AGAIN
    return Next.OWN
