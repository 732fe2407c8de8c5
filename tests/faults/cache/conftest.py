"""How often: a little every day, and as often as it takes to be sure with VREG_TEST_FULL=1."""

import os
from collections.abc import Callable

import pytest

Count = Callable[[int, int], int]


@pytest.fixture(scope="session")
def count() -> Count:
    """Choose between the small and the full number."""
    is_full = os.environ.get("VREG_TEST_FULL") == "1"
    return lambda small, full: full if is_full else small
