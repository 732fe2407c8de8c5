"""The listener's TLS: 1.2 at least, and a certificate that may be replaced on disk while we serve."""

import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog
import uvicorn

LOOK_SECONDS: Final = 1.0
CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""For TLS 1.2; those of 1.3 are all good."""
_log = structlog.get_logger(__name__)


def server_context(config: uvicorn.Config, _default: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    """Return the context of a listener; uvicorn calls it in each worker."""
    return Certificate(Path(config.ssl_certfile or ""), Path(config.ssl_keyfile or "")).context


class Certificate:
    """A chain and its key. A handshake after a change of the files takes the new ones, if they are whole."""

    def __init__(self, chain: Path, key: Path) -> None:
        self._chain = chain
        self._key = key
        self._read = self._changed_at()
        self._looked_at = time.monotonic()
        self._newest = self.context = self._load()
        self.context.sni_callback = self._choose

    def _choose(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        """Give a handshake the newest certificate, whether the client names a server or not."""
        if time.monotonic() - self._looked_at >= LOOK_SECONDS:
            self._looked_at = time.monotonic()
            self._renew()
        connection.context = self._newest

    def _renew(self) -> None:
        try:
            changed_at = self._changed_at()
            if changed_at == self._read:
                return
            self._newest = self._load()
        except OSError as error:  # ssl.SSLError is one
            _log.warning("certificate_not_renewed", path=str(self._chain), reason=str(error))
            return
        self._read = changed_at
        _log.info("certificate_renewed", path=str(self._chain))

    def _changed_at(self) -> tuple[int, int]:
        return self._chain.stat().st_mtime_ns, self._key.stat().st_mtime_ns

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(CIPHERS)
        context.load_cert_chain(self._chain, self._key)
        return context
