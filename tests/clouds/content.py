"""Blobs and manifests as files named by their digest, shared by whoever pushes and whoever serves."""

import hashlib
import os
import tempfile
from pathlib import Path


class ContentStore:
    """Content is immutable, so two processes may share a store without asking each other."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def add(self, content: bytes) -> str:
        """Keep `content`; return its digest."""
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        path = self.path(digest)
        if not path.exists():
            handle, part = tempfile.mkstemp(dir=self._folder)
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            Path(part).rename(path)
        return digest

    def path(self, digest: str) -> Path:
        """Return where `digest` is, if it is there."""
        return self._folder / digest.replace(":", "-")

    def size(self, digest: str) -> int:
        """Return the length in bytes; raise FileNotFoundError."""
        return self.path(digest).stat().st_size

    def read(self, digest: str) -> bytes:
        """Return the content; raise FileNotFoundError."""
        return self.path(digest).read_bytes()
