"""Clients that download and throw away: one curl, any number of connections, each timed."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.load import LoadFailedError
from tests.clients.process import run_well

_TIMES = "%{http_code} %{size_download} %{time_starttransfer}\\n"


@dataclass(frozen=True, slots=True)
class Downloads:
    """`seconds` until the last one ended; `first_byte` is the slowest, in seconds."""

    seconds: float
    first_byte: float


async def download(
    url: str, size: int, *, clients: int = 1, headers: Sequence[str] = (), ca: Path | None = None
) -> Downloads:
    """Download `url` with so many clients at once; raise LoadFailedError unless all got `size` bytes."""
    command = ["curl", "--silent", "--no-progress-meter", "--write-out", _TIMES]
    command += ["--parallel", "--parallel-immediate", "--parallel-max", str(clients)]
    command += ["--http1.1", *(part for header in headers for part in ("--header", header))]
    command += ["--cacert", str(ca)] if ca is not None else []
    command += ["--output", "/dev/null", url] * clients
    began = time.monotonic()
    printed = await run_well(command, deadline=300, environment={"NO_PROXY": "*"})
    seconds = time.monotonic() - began
    lines = [line.split() for line in printed.splitlines()]
    if len(lines) != clients or any(line[:2] != ["200", str(size)] for line in lines):
        raise LoadFailedError(printed[:2000])
    return Downloads(seconds, max(float(line[2]) for line in lines))
