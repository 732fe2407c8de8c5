"""Two editions of one suite: a small one for every day, the full one (VREG_TEST_FULL=1) for the figures."""

import os
import random
import secrets
from typing import Final, TypeVar

IS_FULL: Final = os.environ.get("VREG_TEST_FULL") == "1"
_Amount = TypeVar("_Amount", int, float)


def amount(small: _Amount, full: _Amount) -> _Amount:
    """Return how much of it this edition does."""
    return full if IS_FULL else small


def seeded() -> tuple[int, random.Random]:
    """Return a seed and its dice: a new one each run, or VREG_TEST_SEED to see a run again."""
    seed = int(os.environ.get("VREG_TEST_SEED") or secrets.randbelow(2**32))
    return seed, random.Random(seed)  # noqa: S311 - has to be repeatable
