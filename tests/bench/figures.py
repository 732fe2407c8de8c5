"""What was measured, beside what was wanted: a line of markdown for each figure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Wanted = tuple[Literal["<=", ">="], float]


@dataclass(frozen=True, slots=True)
class Figure:
    """Ours beside a peer's. `wanted` bounds their ratio, or ours alone when there is no peer."""

    case: str
    figure: str
    ours: float
    peer: str = ""
    theirs: float | None = None
    wanted: Wanted | None = None

    @property
    def judged(self) -> float:
        """What `wanted` is about."""
        return self.ours if self.theirs is None else self.ours / self.theirs

    @property
    def verdict(self) -> str:
        """Whether it is as wanted; empty when nothing is."""
        if self.wanted is None:
            return ""
        sign, bound = self.wanted
        return "yes" if (self.judged <= bound if sign == "<=" else self.judged >= bound) else "no"

    def cells(self) -> tuple[str, ...]:
        """Return the columns of `HEADINGS`."""
        return (
            self.case,
            self.figure,
            _number(self.ours),
            f"{self.peer} {_number(self.theirs)}" if self.theirs is not None else self.peer,
            f"{self.judged:.2f}x" if self.theirs is not None else "",
            f"{self.wanted[0]} {self.wanted[1]:g}" if self.wanted is not None else "",
            self.verdict,
        )


HEADINGS = ("case", "figure", "vreg", "beside", "ratio", "wanted", "met")


def row(cells: Sequence[str]) -> str:
    """Return a line of a markdown table."""
    return f"| {' | '.join(cells)} |"


def header() -> str:
    """Return the lines above the figures."""
    return f"{row(HEADINGS)}\n{row(['---'] * len(HEADINGS))}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"
