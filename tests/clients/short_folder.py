"""Folders with short names: a Unix socket's path has at most 107 bytes, podman's runroot at most 50."""

import secrets
import tempfile
from pathlib import Path


def short_folder(name: str) -> Path:
    """Make a folder for what a program keeps while it runs; the caller removes it."""
    folder = Path(tempfile.gettempdir()) / f"{name}-{secrets.token_hex(4)}"
    folder.mkdir(mode=0o700)
    return folder
