"""What tells one broker from another even where both go by one name: a number kept in the state folder."""

import secrets
from pathlib import Path
from typing import Final

from vreg_shared.settings import SettingsError

_FILE: Final = "holder"


def holder_of(state: Path) -> str:
    """Return the folder's number, made when there is none to be read; raise SettingsError."""
    path = state / _FILE
    try:
        known = path.read_text(encoding="ascii").strip() if path.exists() else ""
        return known or _make(path)
    except (OSError, ValueError) as error:
        raise SettingsError(f"VREG_BROKER_STATE: {path} cannot be read or written: {error}") from error


def _make(path: Path) -> str:
    """Write a number whole or not at all: brokers with half a number each could take each other's place."""
    number, fresh = secrets.token_hex(16), path.with_suffix(".new")
    fresh.write_text(number, encoding="ascii")
    fresh.replace(path)
    return number
