"""Manifests ready to be sent, in memory: no disk, no hashing, no questions."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from vreg_proxy.distribution.replies import Reply
from vreg_shared.clock import Clock
from vreg_shared.oci.reference import Reference, RepositoryName

MAX_BYTES: Final = 64 * 1024 * 1024
_OVERHEAD_BYTES: Final = 1024
Key = tuple[str, RepositoryName, Reference]
"""(registry id, repository, reference)"""


@dataclass(frozen=True, slots=True)
class _Hot:
    reply: Reply
    etag: bytes
    upstream_id: str
    until: float


class HotManifests:
    """Least recently used go first. All are dropped when registries or upstreams change."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._kept: OrderedDict[Key, _Hot] = OrderedDict()
        self._bytes = 0
        self._routing = -1

    def get(self, key: Key, routing: int) -> tuple[Reply, bytes, str] | None:
        """Return the answer, its ETag and whose it is, while nobody need be asked.

        `routing` is the snapshot's.
        """
        if routing != self._routing:
            self.clear()
            self._routing = routing
            return None
        hot = self._kept.get(key)
        if hot is None:
            return None
        if self._clock.monotonic() >= hot.until:
            self._drop(key)
            return None
        self._kept.move_to_end(key)
        return hot.reply, hot.etag, hot.upstream_id

    def clear(self) -> None:
        """Drop all."""
        self._kept.clear()
        self._bytes = 0

    def keep(  # noqa: PLR0913 - an answer has this many sides
        self, key: Key, routing: int, reply: Reply, etag: bytes, *, upstream_id: str, seconds: float
    ) -> None:
        """Keep an answer for some seconds, if the configuration it was found by is still the current one."""
        if routing != self._routing or seconds <= 0:
            return
        self._drop(key)
        self._kept[key] = _Hot(reply, etag, upstream_id, self._clock.monotonic() + seconds)
        self._bytes += _weight(reply)
        while self._bytes > MAX_BYTES:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: Key) -> None:
        hot = self._kept.pop(key, None)
        if hot is not None:
            self._bytes -= _weight(hot.reply)


def _weight(reply: Reply) -> int:
    return len(reply.body) + _OVERHEAD_BYTES
