"""The long edition of tests that have one: `VREG_TEST_FULL=1 pytest …`."""

import os


def is_full() -> bool:
    """Whether there is time for more of the same."""
    return os.environ.get("VREG_TEST_FULL") == "1"
