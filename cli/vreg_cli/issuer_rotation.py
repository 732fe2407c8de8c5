"""Which keys the issuer has after a rotation, so that clouds know a key before it signs and long after.

Clouds keep the public keys for hours. So a key is published for the length of an overlap before it signs,
and for as long again after the next one has begun to.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from vreg_shared.issuer_keys import IssuerKey, IssuerKeys

OVERLAP: Final = timedelta(hours=24)
_SECOND: Final = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Rotation:
    """What a rotation does, and all keys there are after it."""

    keys: IssuerKeys
    added: IssuerKey | None
    dropped: tuple[IssuerKey, ...]


def rotated(
    before: IssuerKeys, now: datetime, overlap: timedelta, make: Callable[[datetime], IssuerKey]
) -> Rotation:
    """Let a new key sign after `overlap`, unless one waits already, and drop those outlived."""
    added = None if before.waiting(now) else make(_start(before, now + overlap))
    dropped = before.outlived(now, overlap)
    kept = tuple(key for key in before.keys if key not in dropped)
    return Rotation(IssuerKeys((*kept, *([added] if added is not None else []))), added, dropped)


def _start(before: IssuerKeys, earliest: datetime) -> datetime:
    """Return a whole second, not before `earliest`, that is no other key's."""
    whole = earliest.replace(microsecond=0)
    return max(whole if whole == earliest else whole + _SECOND, before.keys[-1].signs_from + _SECOND)
