"""What each worker process of this host says of itself, in a file each, so that any speaks for all."""

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import structlog
from pydantic import BaseModel, ValidationError

from vreg_shared.clock import Clock
from vreg_shared.metrics import Samples, without_gauges

REPORT_SECONDS: Final = 0.5
LOOK_SECONDS: Final = 0.2
"""Between two looks at the others, for anybody may ask whether we are ready, as often as he likes."""
SILENT_SECONDS: Final = 10.0
"""Without a word for so long a worker has ended, or hangs and is replaced."""
_log = structlog.get_logger(__name__)


class Report(BaseModel):
    """One worker's word. `at` is by the monotonic clock, which the processes of a host share."""

    at: float
    obstacle: str | None
    samples: tuple[Samples, ...] = ()


class Workers:
    """The reports of all workers. A worker that has ended stays in the sums, so that no counter falls."""

    def __init__(self, folder: Path, expected: int, clock: Clock) -> None:
        self._folder = folder
        self._expected = expected
        self._clock = clock
        self._known: str | None = None
        self._look_at = float("-inf")
        self._own = folder / f"{os.getpid()}.json"
        self._said: Report | None = None
        self.problem: str | None = None
        """Why the others cannot hear this process at the moment; it then speaks for itself alone."""

    async def keep_reporting(
        self, obstacle: Callable[[], str | None], samples: Callable[[], tuple[Samples, ...]]
    ) -> None:
        """Report for ever."""
        while True:
            self.report(obstacle(), samples())
            await asyncio.sleep(REPORT_SECONDS)

    def report(self, obstacle: str | None, samples: tuple[Samples, ...] = ()) -> None:
        """Say how this process is. A disk that takes nothing is no obstacle, and told of once."""
        self._said = Report(at=self._clock.monotonic(), obstacle=obstacle, samples=samples)
        try:
            self._write(self._said)
        except OSError as error:
            if self.problem is None:
                _log.warning("report_not_written", folder=str(self._folder), reason=error.strerror)
            self.problem = "not_writable"
        else:
            self.problem = None

    def _write(self, report: Report) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        beside = self._own.with_suffix(".writing")
        beside.write_text(report.model_dump_json())
        beside.replace(self._own)

    def obstacle(self) -> str | None:
        """Return what some worker still waits for; None when all expected came, and those alive serve.

        One that is about to end sends its clients elsewhere by itself.
        """
        now = self._clock.monotonic()
        if now >= self._look_at:
            self._known, self._look_at = self._look(), now + LOOK_SECONDS
        return self._known

    def _look(self) -> str | None:
        reports = list(self._reports())
        if len(reports) < self._expected and (self.problem is None or not reports):
            return "waiting_for_workers"
        found = (each.obstacle for each in reports if self._speaks(each))
        return next((each for each in found if each not in {None, "draining"}), None)

    def samples(self) -> Iterator[tuple[Samples, ...]]:
        """Yield every worker's numbers: all of those alive, and what the others had counted."""
        for report in self._reports():
            yield report.samples if self._speaks(report) else without_gauges(report.samples)

    def _speaks(self, report: Report) -> bool:
        return self._clock.monotonic() - report.at < SILENT_SECONDS

    def _reports(self) -> Iterator[Report]:
        if self._said is not None:
            yield self._said
        for path in self._folder.glob("*.json"):
            if path == self._own and self._said is not None:
                continue
            with suppress(OSError, ValidationError):
                yield Report.model_validate_json(path.read_bytes())


def forget_workers(folder: Path) -> None:
    """Remove what the workers of an earlier start said; raise OSError."""
    for path in (*folder.glob("*.json"), *folder.glob("*.writing")):
        path.unlink(missing_ok=True)
