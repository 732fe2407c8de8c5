"""What happened in a run, and pure functions that judge it.

Every pull is noted with its beginning, end and outcome, every fault with when it was put on and taken off. A
history that fails a test is kept in the test's folder; its seed, faults and failed pulls are printed.
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

OK: Final = 200
_LAST_LINES: Final = 40


@dataclass(frozen=True, slots=True)
class Pull:
    """One request of one client and what came of it. Times are monotonic seconds.

    `wanted` is a digest, or a tag. `digest` is of the bytes that arrived, `is_complete` says that all that
    was announced did. `status` is 0 when there was no answer; `problem` is our error code or the exception.
    """

    client: str
    wanted: str
    began: float
    ended: float
    status: int = 0
    digest: str = ""
    size: int = 0
    is_complete: bool = False
    is_stale: bool = False
    problem: str = ""

    @property
    def is_right(self) -> bool:
        """Whether a complete body arrived; one that was asked for by digest is that one."""
        return self.status == OK and self.is_complete and not self.is_lie

    @property
    def is_lie(self) -> bool:
        """Whether a body arrived as if whole that is not what was asked for."""
        return self.status == OK and self.is_complete and ":" in self.wanted and self.digest != self.wanted

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.ended - self.began


@dataclass(frozen=True, slots=True)
class Nemesis:
    """A fault that was put on or taken off."""

    fault: str
    is_on: bool
    at: float


@dataclass
class History:
    """Of one run; `seed` makes the same faults again."""

    seed: int = 0
    events: list[Pull | Nemesis] = field(default_factory=list)

    @property
    def pulls(self) -> list[Pull]:
        """The pulls, in the order they ended."""
        return [event for event in self.events if isinstance(event, Pull)]

    def note(self, pull: Pull) -> Pull:
        """Keep a pull."""
        self.events.append(pull)
        return pull

    @contextmanager
    def fault(self, name: str) -> Iterator[None]:
        """Note that a fault is on while the block runs."""
        self.events.append(Nemesis(name, is_on=True, at=time.monotonic()))
        try:
            yield
        finally:
            self.events.append(Nemesis(name, is_on=False, at=time.monotonic()))

    def lines(self, *, without_right: bool = False) -> list[str]:
        """Return one JSON object an event, perhaps without the pulls that went right."""
        told = [
            each for each in self.events if not (without_right and isinstance(each, Pull) and each.is_right)
        ]
        return [json.dumps({"is": type(each).__name__.lower(), **asdict(each)}) for each in told]


@contextmanager
def recorded(folder: Path, seed: int = 0) -> Iterator[History]:
    """Record a run; one that fails is kept in `folder` and its end is printed."""
    history = History(seed)
    try:
        yield history
    except BaseException:
        kept = folder / "history.ndjson"
        kept.write_text("\n".join(history.lines()))
        print(f"seed {seed}, history in {kept}, faults and failures:")  # noqa: T201 - for who reads the failure
        print("\n".join(history.lines(without_right=True)[-_LAST_LINES:]))  # noqa: T201 - the same
        raise


def lies(history: History) -> list[Pull]:
    """Return the pulls that got other bytes than they asked for and could not tell."""
    return [pull for pull in history.pulls if pull.is_lie]


def failures(history: History) -> list[Pull]:
    """Return the pulls that did not get what they asked for."""
    return [pull for pull in history.pulls if not pull.is_right]


def unexplained(history: History, *statuses: int) -> list[Pull]:
    """Return the failures that are neither one of our honest answers nor a body that visibly ended early."""
    return [
        pull
        for pull in failures(history)
        if not (pull.status in statuses and pull.is_complete and pull.problem)
        and not (pull.status == OK and not pull.is_complete)
    ]


def during(history: History, fault: str) -> list[Pull]:
    """Return the pulls that began and ended while a fault was on."""
    spans, began = [], None
    for event in history.events:
        if isinstance(event, Nemesis) and event.fault == fault:
            if event.is_on:
                began = event.at
            elif began is not None:
                spans.append((began, event.at))
    return [
        pull
        for pull in history.pulls
        if any(start <= pull.began and pull.ended <= end for start, end in spans)
    ]
