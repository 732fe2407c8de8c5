"""One process that is kept running: started, watched, started again, ended with everything it started."""

import asyncio
import os
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vreg_cli.delays import RestartDelays
from vreg_cli.logs import last_line, open_log, size
from vreg_cli.parent_death import ending_with_parent
from vreg_cli.readiness import Readiness

Report = Callable[[str], None]
EXIT_REFUSED: Final = 2
"""A process that ends with it has said in one line what a person must change."""
_ASK_AGAIN_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True)
class Part:
    """How to run one process. `grace` is the seconds it gets to finish what it is doing."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    log: Path
    grace: float
    is_ready: Readiness


class Supervised:
    """Keeps one part running until told to stop.

    A part that refuses to start (exit code 2 before it was ever ready) is not tried again: `refusal`
    holds its line and `give_up` is called. Whatever happens later is tried again for ever, with a line
    for each time.
    """

    def __init__(self, part: Part, report: Report, give_up: Callable[[], None]) -> None:
        self.part = part
        self.refusal: str | None = None
        self.has_been_ready = asyncio.Event()
        self._report = report
        self._give_up = give_up
        self._delays = RestartDelays()
        self._stopping = asyncio.Event()
        self._process: asyncio.subprocess.Process | None = None

    async def run(self) -> None:
        """Run the part until `stop`, or until it refuses to start."""
        while not self._stopping.is_set():
            started, log_end = time.monotonic(), size(self.part.log)
            code = await self._run_once()
            if self._stopping.is_set():
                return
            words = last_line(self.part.log, log_end)
            if code == EXIT_REFUSED and not self.has_been_ready.is_set():
                self.refusal = words or f"{self.part.name} refused to start; see {self.part.log}"
                self._give_up()
                return
            await self._pause(self._delays.after(time.monotonic() - started), code, words)

    async def stop(self) -> None:
        """End the process: SIGTERM, its grace, then SIGKILL for whatever is left of it."""
        self._stopping.set()
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.send_signal(signal.SIGTERM)
        with suppress(TimeoutError):
            async with asyncio.timeout(self.part.grace):
                await process.wait()
                return
        self._report(f"{self.part.name} did not end within {self.part.grace:g} s and is killed")
        _kill_group(process.pid)
        await process.wait()

    def kill(self) -> None:
        """End it now."""
        self._stopping.set()
        if self._process is not None:
            _kill_group(self._process.pid)

    async def _run_once(self) -> int:
        """Run the process to its end and return its exit code; leave no process of its group behind."""
        with open_log(self.part.log) as log:
            process = await asyncio.create_subprocess_exec(
                *self.part.command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=dict(self.part.environment),
                start_new_session=True,  # Ctrl-C is for us alone: we end the parts in order
                preexec_fn=ending_with_parent(),
            )
        self._process = process
        if self._stopping.is_set():
            process.terminate()
        watch = asyncio.create_task(self._watch_readiness())
        try:
            return await process.wait()
        finally:
            watch.cancel()
            _kill_group(process.pid)

    async def _watch_readiness(self) -> None:
        while not await self.part.is_ready():  # noqa: ASYNC110 - another process tells no event
            await asyncio.sleep(_ASK_AGAIN_SECONDS)
        if self.has_been_ready.is_set():
            self._report(f"{self.part.name} runs again")
        self.has_been_ready.set()

    async def _pause(self, delay: float, code: int, words: str) -> None:
        how = f"was ended by {_signal_name(-code)}" if code < 0 else f"ended with exit code {code}"
        said = f": {words[:300]}" if words else ""
        self._report(
            f"{self.part.name} {how}{said}; it is started again in {delay:.1f} s (log: {self.part.log})"
        )
        with suppress(TimeoutError):
            async with asyncio.timeout(delay):
                await self._stopping.wait()


def _kill_group(pid: int) -> None:
    """Kill what is left of a process group, such as workers whose first process was killed."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
