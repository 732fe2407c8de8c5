"""How much more memory processes had at their peak than before."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

_MIB = 1024


class Growth:
    """MiB, of the process that grew most; known when the watching is over."""

    mebibytes = 0.0


@contextmanager
def watched(pids: Sequence[int]) -> Iterator[Growth]:
    """Watch the resident memory of these processes while the block runs."""
    growth, before = Growth(), {pid: _resident(pid, "VmRSS") for pid in pids}
    for pid in pids:
        Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak begins anew: proc(5)
    yield growth
    growth.mebibytes = max(_resident(pid, "VmHWM") - before[pid] for pid in pids) / _MIB


def _resident(pid: int, name: str) -> int:
    """Return a figure of /proc/PID/status in KiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{name}:")).split()[1])
