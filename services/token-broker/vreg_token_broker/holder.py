"""What tells one broker from another even where both go by one name: a number kept in the state folder."""

import secrets
from pathlib import Path
from typing import Final

from vreg_shared.settings import SettingsError

_FILE: Final = "holder"


def holder_of(state: Path) -> str:
    """Return the folder's number, made when it is first asked for; raise SettingsError."""
    path = state / _FILE
    try:
        if not path.exists():
            path.write_text(secrets.token_hex(16), encoding="ascii")
        return path.read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        raise SettingsError(f"VREG_BROKER_STATE: {path} cannot be read or written: {error}") from error
