"""Who the client is and what it may pull, decided in memory on every request."""

import base64
import binascii
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from vreg_proxy.config_cache import Snapshot
from vreg_proxy.distribution.tokens import Grant, InvalidClientTokenError, TokenMint
from vreg_shared.clock import Clock
from vreg_shared.messages.access import AccessRecord, InvalidTokenError, access_id_of
from vreg_shared.messages.registry import RegistryRecord
from vreg_shared.secret import Secret

PULLING_ROLES: Final = frozenset({"admin", "editor", "viewer", "puller"})
MAX_AUTHORIZATION_BYTES: Final = 16 * 1024 + 16
_REMEMBERED: Final = 10_000
_REMEMBERED_BYTES: Final = 4 * 1024
"""A longer token, which names many repositories, is verified each time."""


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


class Authenticator:
    """Reads `Authorization`. What a token says is remembered; whether it still holds is looked up anew."""

    def __init__(self, configuration: Configuration, mint: TokenMint, clock: Clock) -> None:
        self._configuration = configuration
        self._mint = mint
        self._clock = clock
        self._grants: OrderedDict[bytes, Grant] = OrderedDict()

    def client(self, authorization: bytes | None) -> Client:
        """Return who sent this header."""
        if authorization is None:
            return _ANONYMOUS
        if len(authorization) > MAX_AUTHORIZATION_BYTES:
            return _REJECTED
        scheme, _, value = authorization.partition(b" ")
        match scheme.lower():
            case b"bearer":
                return self._bearer(value.strip())
            case b"basic":
                return self._basic(value.strip())
        return _REJECTED

    def _bearer(self, token: bytes) -> Client:
        now = self._clock.now()
        grant = self._grants.get(token)
        if grant is None:
            try:
                grant = self._mint.read(Secret(token.decode("latin-1")), now)
            except InvalidClientTokenError:
                return _REJECTED
            self._remember(token, grant)
        elif not grant.is_live(now):
            del self._grants[token]
            return _REJECTED
        if grant.access_id is None:
            return Anonymous(grant)
        access = self._live(grant.access_id, now)
        return Known(access, grant) if access is not None else _REJECTED

    def _basic(self, value: bytes) -> Client:
        """Take an access token as the password; the user name may be anything."""
        token = _password(value)
        try:
            access_id = access_id_of(token)
        except InvalidTokenError:
            return _REJECTED
        now = self._clock.now()
        access = self._live(access_id, now)
        if access is None or not access.proves(token, now):
            return _REJECTED
        return Known(access)

    def _remember(self, token: bytes, grant: Grant) -> None:
        if len(token) > _REMEMBERED_BYTES:
            return
        self._grants[token] = grant
        if len(self._grants) > _REMEMBERED:
            self._grants.popitem(last=False)

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
