"""A cloud's view of an issuer whose documents a test has at hand."""

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.clouds.oidc import Claims, TokenVerifier

ISSUER_URL = "https://vreg.example.com/oidc"


class Fetched:
    """Answers for documents below an issuer's URL with whatever `read` finds at their path."""

    def __init__(self, read: Callable[[str], bytes], url: str = ISSUER_URL) -> None:
        self._read = read
        self._url = url

    async def get_json(self, url: str) -> Any:  # noqa: ANN401 - whatever is published
        assert url.startswith(f"{self._url}/")
        return json.loads(self._read(url.removeprefix(f"{self._url}/")))


async def verified(token: str, at: datetime, read: Callable[[str], bytes]) -> Claims:
    """Return what a token says to a cloud at an instant; raise FlawedTokenError."""
    return await TokenVerifier(Fetched(read)).verify(token, at.timestamp())


def exported(folder: Path) -> Callable[[str], bytes]:
    """Return a reader of an exported folder."""
    return lambda path: (folder / path).read_bytes()
