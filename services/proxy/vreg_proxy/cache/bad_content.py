"""What is done about content found to have gone bad, whoever found it."""

from typing import Final

import structlog

from vreg_proxy.cache.index import Index
from vreg_proxy.cache.statistics import Statistics
from vreg_shared.oci.digest import Digest

_log: Final = structlog.stdlib.get_logger()


class BadContent:
    """Called on the event loop, once the bytes are out of the way; the next pull fetches them anew."""

    def __init__(self, index: Index, statistics: Statistics) -> None:
        self._index = index
        self._statistics = statistics

    def found(self, digest: Digest) -> None:
        """Log it, count it, and strike it from the index."""
        _log.error("cache_content_bad", digest=str(digest))
        self._index.gone(digest)
        self._statistics.quarantined()
