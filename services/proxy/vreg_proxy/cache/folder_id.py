"""A name for the cache folder, by which answers of the workers that share it are known as one."""

import os
import secrets
from pathlib import Path
from typing import Final

NAME: Final = "folder-id"
_LENGTH: Final = 16


def folder_id(root: Path) -> str:
    """Return the folder's id, made by the first who asks; one of this process alone when it takes no file."""
    path = root / NAME
    fresh = secrets.token_hex(_LENGTH // 2)
    try:
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        whole = root / f"{NAME}.{fresh}"
        whole.write_text(fresh)
        try:
            os.link(whole, path)
        except FileExistsError:
            pass
        finally:
            whole.unlink()
    except OSError:
        pass
    return _read(path) or fresh


def _read(path: Path) -> str | None:
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError):
        return None
    return text if len(text) == _LENGTH and text.isalnum() and text.isascii() else None
