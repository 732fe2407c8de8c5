"""Run a program to its end, with a deadline and its whole output."""

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


class ProgramFailedError(Exception):
    """A program ended badly or not in time; the text holds its last words."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A program's exit code and what it printed, standard error included."""

    code: int
    output: str


async def run(
    command: Sequence[str], *, deadline: float = 120, environment: Mapping[str, str] | None = None
) -> Ended:
    """Run `command` in a process group of its own; raise ProgramFailedError when it takes too long."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, **(environment or {})},
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(deadline):
            output, _ = await process.communicate()
    except TimeoutError:
        raise ProgramFailedError(f"{command[0]} did not end within {deadline} s") from None
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    return Ended(process.returncode or 0, output.decode(errors="replace"))


async def run_well(
    command: Sequence[str], *, deadline: float = 120, environment: Mapping[str, str] | None = None
) -> str:
    """Run `command` and return what it printed; raise ProgramFailedError unless it exits with 0."""
    ended = await run(command, deadline=deadline, environment=environment)
    if ended.code != 0:
        raise ProgramFailedError(
            f"{' '.join(command[:4])} … exited with {ended.code}: {ended.output[-2000:]}"
        )
    return ended.output
