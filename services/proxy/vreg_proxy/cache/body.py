"""A blob's bytes as far as they are here, shared by all its readers in this process."""

import asyncio
import os
from collections.abc import Callable

from vreg_proxy.cache.endings import Ending, Verified
from vreg_shared.oci.digest import Digest


class Body:
    """Somebody writes or checks the bytes and moves `available`; readers look on until there is an ending.

    `descriptor` is closed when the body has ended and the last who is interested has left. `asking` and
    `granted` are marks of origins. `is_ours` is whether this process fetches the bytes. `on_deserted` hears
    when nobody is interested any more; a body without it is checked, not fetched. `is_proved` says that all
    bytes are here and are those the digest names, although the disk may not have them for good yet.
    """

    def __init__(self, digest: Digest, on_deserted: Callable[["Body"], None] | None = None) -> None:
        self.digest = digest
        self.size: int | None = None
        self.available = 0
        self.is_proved = False
        self.ending: Ending | None = None
        self.descriptor: int | None = None
        self.asking: set[str] = set()
        self.granted: set[str] = set()
        self.interested = 0
        self.is_ours = False
        self._on_deserted = on_deserted
        self._changed = asyncio.Event()

    @property
    def is_being_fetched(self) -> bool:
        """Whether the bytes come from an upstream, by way of this process or another."""
        return self._on_deserted is not None

    @property
    def is_decided(self) -> bool:
        """Whether it is known if the bytes are right, or why they cannot be had."""
        return self.is_proved or self.ending is not None

    def join(self) -> None:
        """Count one more who is interested; each of them leaves once."""
        self.interested += 1

    def leave(self) -> None:
        """Count one less."""
        self.interested -= 1
        if self.interested == 0:
            if self._on_deserted is not None and self.ending is None:
                self._on_deserted(self)
            self._close_if_done()

    def learn(self, asking: set[str], granted: set[str], size: int | None) -> None:
        """Take over what the fill's record says."""
        if asking <= self.asking and granted <= self.granted and size in {None, self.size}:
            return
        self.asking |= asking
        self.granted |= granted
        self.size = size if size is not None else self.size
        self._tell()

    def advance(self, available: int) -> None:
        """Tell that the file now holds this many bytes from its beginning."""
        if available > self.available:
            self.available = available
            self._tell()

    def prove(self) -> None:
        """Tell that the digest was compared: nobody has to wait for the disk."""
        if not self.is_proved:
            self.is_proved = True
            self._tell()

    def end(self, ending: Ending) -> None:
        """Tell how it ended; only the first ending counts."""
        if self.ending is None:
            self.ending = ending
            self.is_proved |= isinstance(ending, Verified)
            self._tell()
            self._close_if_done()

    async def changed(self) -> None:
        """Wait until something above has changed; look first, then wait, without awaiting in between."""
        await self._changed.wait()

    def _tell(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _close_if_done(self) -> None:
        if self.ending is not None and self.interested == 0 and self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None
