"""Whether the disk takes bytes: what went wrong last, until a little write works again."""

from vreg_proxy.cache.content_store import CacheUnwritableError, ContentStore


class DiskState:
    """`problem` is for readiness; pulls go on whatever it says."""

    def __init__(self, store: ContentStore, keep_free: int) -> None:
        self._store = store
        self._keep_free = keep_free
        self.problem: str | None = None

    def broke(self, problem: str) -> None:
        """Remember why nothing was kept."""
        self.problem = problem

    def works(self) -> None:
        """Something was kept."""
        self.problem = None

    def try_again(self) -> None:
        """See whether the disk takes bytes again. Blocks: use a thread."""
        if self.problem is None or not self._store.has_room(self._keep_free):
            return
        try:
            self._store.try_to_write()
        except CacheUnwritableError as error:
            self.problem = str(error)
        else:
            self.problem = None
