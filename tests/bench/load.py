"""Load one URL with `wrk` and account for the processor time the server spent on it."""

import asyncio
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.clients.process import run_well

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_SECONDS = re.compile(r"requests in ([\d.]+)(ms|s|m), ([\d.]+)(B|KB|MB|GB|TB) read")
_REQUESTS = re.compile(r"(\d+) requests in")
_BYTES = {"B": 1, "KB": 2**10, "MB": 2**20, "GB": 2**30, "TB": 2**40}
_TIME = {"ms": 0.001, "s": 1, "m": 60}


class LoadFailedError(Exception):
    """Some answers were errors, so the figures mean nothing."""


@dataclass(frozen=True, slots=True)
class Load:
    """What was measured: requests and bytes answered, wall seconds, server processor seconds."""

    requests: int
    bytes_read: float
    seconds: float
    cpu_seconds: float

    @property
    def requests_per_second(self) -> float:
        return self.requests / self.seconds

    @property
    def cpu_microseconds_per_request(self) -> float:
        return self.cpu_seconds / self.requests * 1e6

    @property
    def gigabytes_per_second(self) -> float:
        return self.bytes_read / self.seconds / 1e9

    @property
    def cpu_seconds_per_gigabyte(self) -> float:
        return self.cpu_seconds / (self.bytes_read / 1e9)


async def load(
    url: str, *, server: Sequence[int], connections: int, seconds: int, headers: Sequence[str] = ()
) -> Load:
    """Ask for `url` over and over; `server` holds the process ids whose time counts, children included."""
    arguments = [part for header in headers for part in ("--header", header)]
    before = sum(map(_cpu_seconds, _with_children(server)))
    printed = await run_well(
        [
            *("wrk", "--threads", "1", "--connections", str(connections)),
            *("--duration", f"{seconds}s", "--timeout", "60s", *arguments, url),
        ],
        deadline=seconds + 60,
    )
    cpu = sum(map(_cpu_seconds, _with_children(server))) - before
    return _parsed(printed, cpu)


def _parsed(printed: str, cpu: float) -> Load:
    if "Non-2xx" in printed or "Socket errors" in printed:
        raise LoadFailedError(printed)
    requests, measured = _REQUESTS.search(printed), _SECONDS.search(printed)
    if requests is None or measured is None:
        raise LoadFailedError(printed)
    seconds = float(measured[1]) * _TIME[measured[2]]
    return Load(int(requests[1]), float(measured[3]) * _BYTES[measured[4]], seconds, cpu)


def _with_children(pids: Sequence[int]) -> set[int]:
    """Return `pids` and all their descendants: servers serve from workers."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue  # it ended while we looked
    family = set(pids)
    while True:
        children = {pid for pid, parent in parents.items() if parent in family} - family
        if not children:
            return family
        family |= children


def _cpu_seconds(pid: int) -> float:
    """User and system time of a process, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_SECOND


async def settle() -> None:
    """Let a server finish what a load left behind, before the next one is measured."""
    await asyncio.sleep(0.5)
