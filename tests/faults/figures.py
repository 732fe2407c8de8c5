"""The figures of a run, beside what they should be. Only outcomes decide whether a test fails."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Figure:
    """One row: which gate or fault, what was counted or timed, and its target."""

    gate: str
    what: str
    seen: str
    target: str


FIGURES: list[Figure] = []
"""Of this process, in the order they were told."""


def tell(gate: str, what: str, seen: object, target: str) -> None:
    """Keep a figure for the table at the end of the run."""
    FIGURES.append(Figure(gate, what, f"{seen:.3g}" if isinstance(seen, float) else str(seen), target))


def p99(values: Sequence[float]) -> float:
    """Return the value that 99 in 100 do not exceed; the largest of a few, and nan of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, math.ceil(len(ordered) * 0.99) - 1)] if ordered else math.nan


def milliseconds(seconds: float) -> str:
    """Write a duration."""
    return f"{seconds * 1000:.1f} ms"


def print_figures() -> None:
    """Print the table."""
    table = Table(title="The pull path under faults", title_justify="left")
    for head in ("gate", "what", "seen", "target"):
        table.add_column(head)
    for figure in sorted(FIGURES, key=lambda each: (len(each.gate), each.gate)):
        table.add_row(figure.gate, figure.what, figure.seen, figure.target)
    Console(width=150).print(table)
