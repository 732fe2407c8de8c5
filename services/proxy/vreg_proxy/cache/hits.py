"""Where an answer came from: the classes that hits are counted in."""

from enum import StrEnum


class Hit(StrEnum):
    """What a client's answer cost."""

    MEMORY = "memory"
    """Nothing: a manifest that this process had ready."""
    DISK = "disk"
    JOINED = "joined"
    """Bytes that were on their way for somebody else."""
    FILLED = "filled"
    """An upstream gave the bytes, and they were kept."""
    REVALIDATED = "revalidated"
    """An upstream was asked by HEAD, and our copy was still the right one."""
    STALE = "stale"
    """The upstream could not say, and our copy was served with a warning."""
    PASSED = "passed"
    """An upstream gave the bytes, and the disk took none."""
