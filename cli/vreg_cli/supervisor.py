"""All parts together: started stage by stage, kept running, ended in reverse order."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Final

from vreg_cli.logs import keep_bounded
from vreg_cli.supervised import Part, Report, Supervised
from vreg_shared.errors import VregError

_REMIND_EVERY_SECONDS: Final = 15.0


class PartRefusedError(VregError):
    """A part will not start as things are; the text is its own line and says what to do."""


class Supervisor:
    """Runs parts until told to stop. It owns every process it starts and outlives none of them."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._stop = asyncio.Event()
        self._running: list[Supervised] = []

    def stop(self) -> None:
        """End everything in good order; told a second time, at once."""
        if self._stop.is_set():
            for each in self._running:
                each.kill()
        self._stop.set()

    async def run(self, stages: Sequence[Sequence[Part]], on_ready: Callable[[], None]) -> None:
        """Start the stages one after the other, call `on_ready` once, return after `stop`.

        Raise PartRefusedError if a part refused to start; everything has ended by then.
        """
        async with asyncio.TaskGroup() as group:
            logs = group.create_task(keep_bounded(part.log for stage in stages for part in stage))
            try:
                for stage in stages:
                    started = [self._start(group, part) for part in stage]
                    await self._until_ready(started)
                if not self._stop.is_set():
                    on_ready()
                await self._stop.wait()
            finally:
                await self._end_all()
                logs.cancel()
        for each in self._running:
            if each.refusal is not None:
                raise PartRefusedError(each.refusal)

    def _start(self, group: asyncio.TaskGroup, part: Part) -> Supervised:
        supervised = Supervised(part, self._report, give_up=self._stop.set)
        self._running.append(supervised)
        group.create_task(supervised.run())
        return supervised

    async def _until_ready(self, started: Iterable[Supervised]) -> None:
        """Return when all are ready or we are to stop; meanwhile say now and then what is missing."""
        for each in started:
            while not (self._stop.is_set() or each.has_been_ready.is_set()):
                await self._first_of(each.has_been_ready, self._stop, timeout=_REMIND_EVERY_SECONDS)
                if not (self._stop.is_set() or each.has_been_ready.is_set()):
                    self._report(f"{each.part.name} is not ready yet (log: {each.part.log})")

    async def _first_of(self, *events: asyncio.Event, timeout: float) -> None:  # noqa: ASYNC109 - not an error
        waiting = [asyncio.create_task(event.wait()) for event in events]
        try:
            await asyncio.wait(waiting, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()

    async def _end_all(self) -> None:
        for each in reversed(self._running):
            with suppress(ProcessLookupError):
                await each.stop()
