"""Who the client is and what it may pull, decided in memory on every request."""

import base64
import binascii
import secrets
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from typing import Final, Protocol

from vreg_proxy.config_cache import Snapshot
from vreg_proxy.distribution.tokens import Grant, InvalidClientTokenError, TokenMint
from vreg_shared.clock import Clock
from vreg_shared.messages.access import AccessRecord, InvalidTokenError, access_id_of, hash_token
from vreg_shared.messages.registry import RegistryRecord
from vreg_shared.secret import Secret

PULLING_ROLES: Final = frozenset({"admin", "editor", "viewer", "puller"})
MAX_AUTHORIZATION_BYTES: Final = 16 * 1024 + 16
_REMEMBERED: Final = 10_000
_REMEMBERED_BYTES: Final = 4 * 1024
"""A longer header, of a token that names many repositories, is read each time."""
_MARK_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Anonymous:
    """Nobody in particular. With a token of ours (`grant`), or with no credential at all."""

    grant: Grant | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """The holder of a live access token; `grant` is the short token it came with, None for Basic."""

    access: AccessRecord
    grant: Grant | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """A credential was sent, and it is not good."""


Client = Anonymous | Known | Rejected
_ANONYMOUS: Final = Anonymous()
_REJECTED: Final = Rejected()


class Configuration(Protocol):
    """Where the current configuration is."""

    def snapshot(self) -> Snapshot:
        """Return the configuration as it is now."""
        ...


@dataclass(frozen=True, slots=True)
class _Proof:
    """What a Basic header holds, as records compare it: it proves something while its record says so."""

    access_id: str
    token_sha256: str


class Authenticator:
    """Reads `Authorization`. What a header says is remembered; whether it still holds is looked up anew.

    Headers are remembered by a MAC under a key of this process, so that memory holds no secret in clear.
    """

    def __init__(self, configuration: Configuration, mint: TokenMint, clock: Clock) -> None:
        self._configuration = configuration
        self._mint = mint
        self._clock = clock
        self._key = secrets.token_bytes(blake2b.MAX_KEY_SIZE)
        self._remembered: OrderedDict[bytes, Grant | _Proof] = OrderedDict()

    def client(self, authorization: bytes | None) -> Client:
        """Return who sent this header."""
        if authorization is None:
            return _ANONYMOUS
        if len(authorization) > MAX_AUTHORIZATION_BYTES:
            return _REJECTED
        now = self._clock.now()
        mark = blake2b(authorization, key=self._key, digest_size=_MARK_BYTES).digest()
        said = self._remembered.get(mark)
        if said is None:
            said = self._read(authorization, now)
            if said is None:
                return _REJECTED
            self._remember(mark, said, len(authorization))
        return self._by_grant(said, now) if isinstance(said, Grant) else self._by_proof(said, now)

    def _read(self, authorization: bytes, now: datetime) -> Grant | _Proof | None:
        scheme, _, value = authorization.partition(b" ")
        match scheme.lower():
            case b"bearer":
                return self._bearer(value.strip(), now)
            case b"basic":
                return self._basic(value.strip(), now)
        return None

    def _bearer(self, token: bytes, now: datetime) -> Grant | None:
        try:
            return self._mint.read(Secret(token.decode("latin-1")), now)
        except InvalidClientTokenError:
            return None

    def _basic(self, value: bytes, now: datetime) -> _Proof | None:
        """Take an access token as the password; the user name may be anything."""
        token = _password(value)
        try:
            access_id = access_id_of(token)
        except InvalidTokenError:
            return None
        access = self._live(access_id, now)
        if access is None or not access.proves(token, now):
            return None
        return _Proof(access_id, hash_token(token))

    def _by_grant(self, grant: Grant, now: datetime) -> Client:
        if not grant.is_live(now):
            return _REJECTED
        if grant.access_id is None:
            return Anonymous(grant)
        access = self._live(grant.access_id, now)
        return Known(access, grant) if access is not None else _REJECTED

    def _by_proof(self, proof: _Proof, now: datetime) -> Client:
        access = self._live(proof.access_id, now)
        if access is None or not access.proves_hash(proof.token_sha256, now):
            return _REJECTED
        return Known(access)

    def _remember(self, mark: bytes, said: Grant | _Proof, length: int) -> None:
        if length > _REMEMBERED_BYTES:
            return
        self._remembered[mark] = said
        if len(self._remembered) > _REMEMBERED:
            self._remembered.popitem(last=False)

    def _live(self, access_id: str, now: datetime) -> AccessRecord | None:
        access = self._configuration.snapshot().access.get(access_id)
        return access if access is not None and access.is_live(now) else None


def may_pull(access: AccessRecord, registry: RegistryRecord) -> bool:
    """Whether the holder of an access token may pull from a registry."""
    if access.role not in PULLING_ROLES:
        return False
    return access.registry_ids is None or registry.id in access.registry_ids


def _password(value: bytes) -> Secret:
    try:
        pair = base64.b64decode(value, validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        return Secret("")
    return Secret(pair.partition(":")[2])
