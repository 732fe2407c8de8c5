"""`python -m tests.endurance`: a thousand pulls a cloud through twenty ends of every token, unnoticed.

Every auth method of every cloud is at work in one vreg with eight proxy workers and two token-brokers. It
ends with a table, and with exit code 0 only if no pull failed and each lease was got by one exchange.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.e2e.cast import cast
from tests.endurance.run import Figures, Run, Wishes


def main() -> None:
    """Run, tell, and exit with 0 only if all of it held."""
    parser = argparse.ArgumentParser(prog="python -m tests.endurance", description=__doc__)
    parser.add_argument("--pulls", type=int, default=1000, help="of each cloud")
    parser.add_argument("--expiries", type=int, default=20, help="of each lease")
    parser.add_argument("--life", type=float, default=6.0, help="of a token, in seconds")
    parser.add_argument("--workers", type=int, default=8, help="proxy worker processes")
    parser.add_argument("--brokers", type=int, default=2, help="token-brokers, of which one leads")
    wishes = Wishes(**vars(parser.parse_args()))
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="vreg-endurance-", ignore_cleanup_errors=True) as folder:
        figures = asyncio.run(endure(Path(folder), wishes))
    tell(figures, wishes, time.monotonic() - began)
    sys.exit(1 if any(each.faults for each in figures) else 0)


async def endure(folder: Path, wishes: Wishes) -> list[Figures]:
    """Return the figures of every cloud."""
    others = [f"broker-{number}" for number in range(2, wishes.brokers + 1)]
    async with AsyncExitStack() as stack:
        play = await stack.enter_async_context(cast(folder, workers=wishes.workers))
        for stage in play.stages.values():
            stage.set_life(wishes.life)
        for name in others:
            await stack.enter_async_context(play.stack.another_broker(name))
        await play.set_up()
        run = Run(play, wishes, others)
        await run.go()
        return run.figures


def tell(figures: list[Figures], wishes: Wishes, seconds: float) -> None:
    """Print the table, and what did not hold."""
    table = Table(
        title=f"{wishes.workers} proxy workers, {wishes.brokers} token-brokers, tokens of {wishes.life:g} s, "
        f"{seconds:.0f} s in all"
    )
    for head in (
        "cloud",
        "auth methods",
        "pulls",
        "failed",
        "leases",
        "exchanges each",
        "on record",
        "granted",
    ):
        table.add_column(head, justify="left" if head in {"cloud", "auth methods"} else "right")
    for each in figures:
        counts = each.exchanges.values()
        table.add_row(
            each.provider,
            str(len(each.members)),
            str(each.pulled),
            str(len(each.failed)),
            str(len(each.exchanges)),
            f"{min(counts)}-{max(counts)}",
            str(each.exchanges.total()),
            str(each.granted),
        )
    console = Console()
    console.print(table)
    for each in figures:
        for fault in each.faults:
            console.print(f"[red]{each.provider}: {fault}[/red]", highlight=False)


if __name__ == "__main__":
    main()
