"""One spelling of a JSON value, so that both sides of a seal or signature mean the same bytes."""

import json
from collections.abc import Mapping
from typing import Any


def canonical_json(value: Mapping[str, Any]) -> bytes:
    """Return `value` with sorted keys, without spaces, in UTF-8; raise TypeError or ValueError."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()
