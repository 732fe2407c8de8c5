"""How often somebody may fail to prove who he is, before he is told to wait.

Only failures are limited. Whoever proves himself is let in whatever others did from his address or with his
id, so nobody can be locked out; what is worth guessing has 256 random bits.
"""

import ipaddress
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

FREE: Final = 10
FIRST_SECONDS: Final = 1.0
LONGEST_SECONDS: Final = 300.0
REMEMBERED: Final = 10_000
_IPV6_NETWORK: Final = 64
"""What one customer of a provider has; single addresses cost nothing there."""


@dataclass(slots=True)
class _Failures:
    count: int = 0
    until: float = float("-inf")


class FailureLimit:
    """Counts failures by key: after `free` of them each doubles the wait. Times are monotonic seconds."""

    def __init__(
        self,
        free: int = FREE,
        first: float = FIRST_SECONDS,
        longest: float = LONGEST_SECONDS,
        remembered: int = REMEMBERED,
    ) -> None:
        self._free = free
        self._first = first
        self._longest = longest
        self._remembered = remembered
        self._failures: OrderedDict[str, _Failures] = OrderedDict()

    def failed(self, keys: Iterable[str], now: float) -> float:
        """Count a failure below every key and return 0, or seconds still to wait, which counts nothing."""
        found = [self._of(key, now) for key in keys]
        wait = max((each.until - now for each in found), default=0.0)
        if wait > 0.0:
            return wait
        for each in found:
            each.count += 1
            each.until = now + self._delay(each.count)
        return 0.0

    def proved(self, key: str) -> None:
        """Forget the failures below a key."""
        self._failures.pop(key, None)

    def _delay(self, count: int) -> float:
        beyond = count - self._free
        # The exponent is bounded, for a float is too.
        return 0.0 if beyond < 0 else min(self._first * 2.0 ** min(beyond, 32), self._longest)

    def _of(self, key: str, now: float) -> _Failures:
        """Return what is known of a key, or begin anew; the key that was quiet longest is dropped."""
        found = self._failures.pop(key, None)
        if found is None or now > found.until + self._longest:
            found = _Failures()
        self._failures[key] = found
        if len(self._failures) > self._remembered:
            self._failures.popitem(last=False)
        return found


def source_of(address: str) -> str:
    """Return whom an address counts for: itself, or its network where addresses are for nothing."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((int(parsed), _IPV6_NETWORK), strict=False))
