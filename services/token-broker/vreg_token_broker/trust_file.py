"""One file of every authority we trust, for SDKs that take a path: the system's and the operator's."""

import os
import ssl
from pathlib import Path
from typing import Final

from vreg_shared.settings import SettingsError

_USUAL: Final = (
    Path("/etc/ssl/certs/ca-certificates.crt"),
    Path("/etc/pki/tls/certs/ca-bundle.crt"),
    Path("/etc/ssl/cert.pem"),
)


def write_trust_file(folder: Path, extra_pem: str | None) -> Path:
    """Write `trust.pem` into `folder` and return its path; raise SettingsError."""
    path = folder / "trust.pem"
    parts = [system_roots(), *([extra_pem] if extra_pem is not None else [])]
    try:
        fresh = path.with_suffix(".new")
        fresh.write_text("\n".join(parts), encoding="utf-8")
        fresh.replace(path)
    except OSError as error:
        raise SettingsError(
            f"VREG_BROKER_STATE: cannot write {path}: {error.strerror}; let it name a folder of this user"
        ) from error
    return path


def system_roots() -> str:
    """Return the system's authorities as PEM; raise SettingsError when there is no file of them."""
    chosen: str | None = os.environ.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().cafile
    candidates: tuple[Path, ...] = (*([Path(chosen)] if chosen else []), *_USUAL)
    for path in candidates:
        try:
            return path.read_text(encoding="utf-8")
        except OSError:
            continue
    raise SettingsError(
        "SSL_CERT_FILE: the system's certificate authorities were not found; install ca-certificates, or let "
        "it name a PEM file of them"
    )
