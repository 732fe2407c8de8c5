"""Where keys lie: one private folder a service, and one folder of everybody's public keys.

<keys>/<service>/signing.key   <keys>/<service>/sealing.key   <keys>/<service>/nkey.seed
<keys>/public/<service>.signing.pub   <keys>/public/<service>.sealing.pub
<keys>/token-broker/issuer/   <keys>/public/issuer.jwks.json   as vreg_shared.issuer_keys reads them
"""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, TypeVar

from vreg_shared.errors import VregError
from vreg_shared.pem import InvalidKeyError
from vreg_shared.sealing import SealingKey, SealingPublicKey
from vreg_shared.secret import Secret
from vreg_shared.signing import SigningKey, VerifyingKey

PUBLIC_FOLDER: Final = "public"
_Key = TypeVar("_Key", SigningKey, SealingKey, VerifyingKey, SealingPublicKey)


class Service(StrEnum):
    """A writer on the bus; its name is its folder."""

    API = "api"
    TOKEN_BROKER = "token-broker"  # noqa: S105 - a name
    PROXY = "proxy"


SEALED_FOR: Final = (Service.TOKEN_BROKER, Service.PROXY)
"""The services that others seal something for."""


class MissingKeyError(VregError):
    """A key is absent, unreadable or not a key; the text names the file and the remedy."""


@dataclass(frozen=True, slots=True)
class KeyFolder:
    """A service's own private keys; the folder is 0700 and its files are 0600."""

    path: Path

    @property
    def signing_key_path(self) -> Path:
        """The Ed25519 key this service signs its records with."""
        return self.path / "signing.key"

    @property
    def sealing_key_path(self) -> Path:
        """The X25519 key that opens what others sealed for this service."""
        return self.path / "sealing.key"

    @property
    def nkey_path(self) -> Path:
        """The nkey seed this service signs in to NATS with."""
        return self.path / "nkey.seed"

    @property
    def issuer_path(self) -> Path:
        """The folder of the keys that vreg's own issuer signs identity tokens with."""
        return self.path / "issuer"

    def signing_key(self) -> SigningKey:
        """Read the key; raise MissingKeyError."""
        return _read(SigningKey, self.signing_key_path, "VREG_KEYS")

    def sealing_key(self) -> SealingKey:
        """Read the key; raise MissingKeyError."""
        return _read(SealingKey, self.sealing_key_path, "VREG_KEYS")

    def nkey_seed(self) -> Secret:
        """Read the seed; raise MissingKeyError."""
        try:
            return Secret(self.nkey_path.read_text("ascii").strip())
        except (OSError, ValueError) as error:
            raise _missing(self.nkey_path, "VREG_KEYS", error) from error


@dataclass(frozen=True, slots=True)
class PublicKeyFolder:
    """Everybody's public keys."""

    path: Path

    def signing_path(self, service: Service) -> Path:
        """Where the key lies that verifies what `service` signed."""
        return self.path / f"{service.value}.signing.pub"

    def sealing_path(self, service: Service) -> Path:
        """Where the key lies that seals for `service`."""
        return self.path / f"{service.value}.sealing.pub"

    @property
    def issuer_jwks_path(self) -> Path:
        """The public keys of vreg's own issuer, as clouds read them."""
        return self.path / "issuer.jwks.json"

    def verifying_key(self, service: Service) -> VerifyingKey:
        """Read the key; raise MissingKeyError."""
        return _read(VerifyingKey, self.signing_path(service), "VREG_PUBLIC_KEYS")

    def sealing_key(self, service: Service) -> SealingPublicKey:
        """Read the key; raise MissingKeyError."""
        return _read(SealingPublicKey, self.sealing_path(service), "VREG_PUBLIC_KEYS")


def _read(kind: type[_Key], path: Path, setting: str) -> _Key:
    try:
        return kind.from_file(path)
    except (OSError, InvalidKeyError) as error:
        raise _missing(path, setting, error) from error


def _missing(path: Path, setting: str, error: Exception) -> MissingKeyError:
    why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return MissingKeyError(f"key {path}: {why}; `vreg up` makes the keys, or let {setting} name their folder")
