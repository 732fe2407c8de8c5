"""`make bench`: vreg beside docker-registry, nginx and direct pulls, in one run, as ratios.

All serve the same bytes from this machine. Nothing here asserts: it reports, whatever comes out, as a table
in markdown. Arguments choose among the parts.
"""

import asyncio
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from rich.console import Console

from tests.bench.cached import blobs, manifest
from tests.bench.cold import far, few, many
from tests.bench.figures import Figure, header, row
from tests.bench.ground import Ground, ground

PARTS: dict[str, Callable[[Ground], AsyncIterator[Figure]]] = {
    "manifest": manifest,
    "blobs": blobs,
    "few": few,
    "many": many,
    "far": far,
}
LONGEST_SECONDS = 600
NEEDED = ("wrk", "nginx", "docker-registry", "curl", "skopeo")


async def bench(console: Console, parts: list[str]) -> None:
    """Measure, and print each figure as it comes."""
    with tempfile.TemporaryDirectory(prefix="vreg-bench-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o755)
        async with asyncio.timeout(LONGEST_SECONDS), ground(Path(name)) as stage:
            console.out(header(), highlight=False)
            for part in parts:
                async for figure in PARTS[part](stage):
                    console.out(row(figure.cells()), highlight=False)


def main() -> None:
    """Run, or say what is missing."""
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if missing:
        sys.exit(f"bench needs {', '.join(missing)}; `make bench` installs them where it can")
    asyncio.run(bench(Console(), sys.argv[1:] or list(PARTS)))


if __name__ == "__main__":
    main()
