"""How long to wait before the next try: doubling, with jitter, to a cap."""

import random
from collections.abc import Iterator


def delays(first: float, cap: float) -> Iterator[float]:
    """Yield seconds for ever: half to the whole of a delay that doubles from `first` to `cap`."""
    delay = first
    while True:
        yield random.uniform(delay / 2, delay)  # noqa: S311 - spreads load, guards nothing
        delay = min(delay * 2, cap)
