"""What the demo prints: each step with its time as it happens, and a table at the end."""

import time
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape
from rich.table import Table


@dataclass(frozen=True, slots=True)
class _Pull:
    client: str
    repository: str
    tag: str
    is_right: bool
    seconds: float


class Story:
    """Keeps the time, and whether everything held."""

    def __init__(self) -> None:
        self._console = Console(soft_wrap=True, highlight=False)
        self._began = self._step_began = time.monotonic()
        self._pulls: list[_Pull] = []
        self._failures: list[str] = []

    def say(self, step: str) -> None:
        """Begin a step."""
        self._step_began = time.monotonic()
        self._print(f"{escape(step)} …")

    def done(self, outcome: str) -> None:
        """End the step well."""
        self._print(f"  [green]✓[/green] {escape(outcome)} [dim]({self._seconds():.1f} s)[/dim]")

    def failed(self, reason: str) -> None:
        """End the step badly; the summary will say so."""
        self._failures.append(reason)
        self._print(f"  [red]✗[/red] {escape(reason)}")

    def pulled(self, client: str, repository: str, tag: str, *, is_right: bool) -> None:
        """End a step that was a pull."""
        self._pulls.append(_Pull(client, repository, tag, is_right, self._seconds()))
        if is_right:
            self.done("the digest is right")
        else:
            self.failed("another digest than was pushed")

    def note(self, text: str) -> None:
        """Print as it is."""
        self._console.print(escape(text))

    def summary(self) -> bool:
        """Print the table; return whether everything held."""
        table = Table(title="Pulls")
        for heading in ("repository", "tag", "client", "digest", "seconds"):
            table.add_column(heading)
        for pull in self._pulls:
            verdict = "[green]right[/green]" if pull.is_right else "[red]wrong[/red]"
            table.add_row(pull.repository, pull.tag, pull.client, verdict, f"{pull.seconds:.1f}")
        self._console.print(table)
        for failure in self._failures:
            self._console.print(f"[red]✗[/red] {escape(failure)}")
        holds = bool(self._pulls) and not self._failures
        minutes = (time.monotonic() - self._began) / 60
        verdict = "[green]everything held[/green]" if holds else "[red]it did not hold[/red]"
        self._console.print(f"{len(self._pulls)} pulls in {minutes:.1f} minutes: {verdict}")
        return holds

    def _seconds(self) -> float:
        return time.monotonic() - self._step_began

    def _print(self, markup: str) -> None:
        since = time.monotonic() - self._began
        self._console.print(f"[dim]{since:6.1f}[/dim]  {markup}")
