"""Rung 1 of the ladder: an identity token that vreg signs itself, or that the platform keeps fresh in a file.

Keys and files are read each time: a rotation, or the platform, may have replaced them.
"""

import asyncio
import re
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from vreg_shared.auth_method import IdentityTokenNeed
from vreg_shared.clock import Clock
from vreg_shared.issuer_documents import subject_of
from vreg_shared.issuer_keys import read_issuer_keys
from vreg_shared.key_files import MissingKeyError
from vreg_shared.operator_grants import OperatorGrants
from vreg_shared.secret import Secret
from vreg_token_broker.exchange import IdentityTokenError, Refused, Unavailable
from vreg_token_broker.issuer import Claims, signed

MAX_TOKEN_BYTES: Final = 16 * 1024
_JWT: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+", re.ASCII)
_REMEDY_FILE: Final = (
    "See that the token-broker can read the file that VREG_TOKEN_FILES gives this name, and that the "
    "platform writes a signed token (JWT) into it."
)
_REMEDY_ISSUER: Final = "Set VREG_ISSUER_URL, or let the identity name a token file that is configured."
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class GrantedIdentityTokens:
    """Gives what the operator configured; `issuer_keys` is the folder of the issuer's keys."""

    grants: OperatorGrants
    issuer_keys: Path
    clock: Clock

    async def token(self, identity_id: str, need: IdentityTokenNeed) -> Secret:
        """Return a token for one exchange; raise IdentityTokenError."""
        if need.file is None:
            return await asyncio.to_thread(self._signed, identity_id, need.audience)
        return await asyncio.to_thread(self._from_file, need.file)

    def _signed(self, identity_id: str, audience: str) -> Secret:
        url, now, token_id = self.grants.issuer_url, self.clock.now(), str(uuid.uuid4())
        if url is None:
            raise IdentityTokenError(Refused("issuer_not_configured", audience, _REMEDY_ISSUER))
        try:
            key = read_issuer_keys(self.issuer_keys).signing(now)
        except MissingKeyError as error:
            remedy = "Restore the issuer's keys, or run `vreg setup` to make the first."
            raise IdentityTokenError(Refused("issuer_keys_missing", str(error), remedy)) from error
        token = signed(key, Claims(url, subject_of(identity_id), audience, now, token_id))
        _log.info("identity_token_signed", identity=identity_id, audience=audience, jti=token_id, kid=key.kid)
        return token

    def _from_file(self, name: str) -> Secret:
        path = self.grants.token_files.get(name)
        if path is None:
            raise _refused("token_file_unknown", f"no token file is named {name}")
        raw = _read(path)
        if len(raw) > MAX_TOKEN_BYTES:
            raise _refused("token_file_invalid", f"{path} is longer than {MAX_TOKEN_BYTES} bytes")
        text = raw.decode("utf-8", "replace").strip()
        if not text:
            raise IdentityTokenError(Unavailable("token_file_empty", f"{path} is empty. {_REMEDY_FILE}"))
        if _JWT.fullmatch(text) is None:
            raise _refused("token_file_invalid", f"{path} holds no JWT")
        return Secret(text)


def _read(path: Path) -> bytes:
    """Return the file's beginning; what a person must mend is refused, a disk that errs is not."""
    try:
        with path.open("rb") as file:
            return file.read(MAX_TOKEN_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError) as error:
        raise _refused("token_file_unreadable", f"{path}: {error.strerror}") from error
    except OSError as error:
        detail = f"{path}: {error.strerror}. {_REMEDY_FILE}"
        raise IdentityTokenError(Unavailable("token_file_unreadable", detail)) from error


def _refused(reason: str, detail: str) -> IdentityTokenError:
    return IdentityTokenError(Refused(reason, detail, _REMEDY_FILE))
