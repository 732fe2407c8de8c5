"""Every service's keys: made once, at the first start, and never replaced unasked.

A sealing key that is made anew cannot open what was sealed before, so a key that is gone is an error
for a person; a public key that is gone is written again from its private one. The issuer's keys alone are
rotated, since nothing is stored under them.
"""

import os
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import nkeys

from vreg_cli.home import Home
from vreg_cli.issuer_keys import KeysUnsafeError, ensure_issuer_keys
from vreg_cli.whole_files import write_whole
from vreg_shared.errors import VregError
from vreg_shared.key_files import SEALED_FOR, KeyFolder, MissingKeyError, Service
from vreg_shared.sealing import SealingKey
from vreg_shared.secret import Secret
from vreg_shared.signing import SigningKey

_PRIVATE_FOLDER: Final = 0o700
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


class ConsumerExistsError(VregError):
    """The name is taken."""


class NoSuchConsumerError(VregError):
    """Nothing has this name."""


def ensure_keys(home: Home) -> bool:
    """Make the keys if there are none and return whether it did; raise MissingKeyError, KeysUnsafeError."""
    present = [path for service in Service for path in _private_paths(home, service) if path.exists()]
    if not present:
        for service in Service:
            _make_private_keys(home, service)
    for service in Service:
        _check(home, service)
    for service in Service:
        _ensure_public_keys(home, service)
    ensure_issuer_keys(home, datetime.now(UTC))
    return not present


def nkey_public(folder: KeyFolder) -> str:
    """Return the public half of the nkey in `folder`; raise MissingKeyError."""
    seed = folder.nkey_seed()
    try:
        public: bytes = nkeys.from_seed(bytearray(seed.reveal().encode())).public_key
    except (nkeys.NkeysError, ValueError) as error:
        raise MissingKeyError(
            f"key {folder.nkey_path}: not an nkey seed; restore it from a backup"
        ) from error
    return public.decode()


def consumer_names(home: Home) -> list[str]:
    """Return the outside consumers of audit events there are, by name."""
    return sorted(path.parent.name for path in home.consumers.glob("*/nkey.seed"))


def make_consumer(home: Home, name: str) -> KeyFolder:
    """Make the seed of an outside consumer; raise ConsumerExistsError or MissingKeyError."""
    folder = home.consumer_folder(name)
    if not home.keys.is_dir():
        raise MissingKeyError(f"{home.path} has no keys yet; start `vreg up`, or run `vreg setup`, first")
    if folder.nkey_path.exists():
        raise ConsumerExistsError(f"there is a consumer {name} already; delete it, or choose another name")
    for each in (home.consumers, folder.path):
        each.mkdir(_PRIVATE_FOLDER, exist_ok=True)
    write_whole(folder.nkey_path, _new_nkey_seed().reveal().encode() + b"\n", 0o600)
    return folder


def remove_consumer(home: Home, name: str) -> None:
    """Forget an outside consumer; raise NoSuchConsumerError."""
    if name not in consumer_names(home):
        raise NoSuchConsumerError(f"there is no consumer {name}; `vreg audit consumer list` shows all")
    folder = home.consumer_folder(name)
    folder.nkey_path.unlink()
    folder.path.rmdir()


def _private_paths(home: Home, service: Service) -> list[Path]:
    folder = home.key_folder(service)
    sealing = [folder.sealing_key_path] if service in SEALED_FOR else []
    return [folder.signing_key_path, folder.nkey_path, *sealing]


def _make_private_keys(home: Home, service: Service) -> None:
    folder = home.key_folder(service)
    for each in (home.keys, folder.path):
        each.mkdir(_PRIVATE_FOLDER, exist_ok=True)
    write_whole(folder.signing_key_path, SigningKey.generate().to_pem(), 0o600)
    if service in SEALED_FOR:
        write_whole(folder.sealing_key_path, SealingKey.generate().to_pem(), 0o600)
    write_whole(folder.nkey_path, _new_nkey_seed().reveal().encode() + b"\n", 0o600)


def _new_nkey_seed() -> Secret:
    seed: bytes = nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER)
    return Secret(seed.decode())


def _check(home: Home, service: Service) -> None:
    folder = home.key_folder(service)
    for path in _private_paths(home, service):
        if not path.exists():
            raise MissingKeyError(
                f"key {path} is missing; restore it from a backup, or remove {home.keys} to make new keys "
                "(every stored cloud secret must then be entered again)"
            )
    for path in (folder.path, *_private_paths(home, service)):
        if stat.S_IMODE(path.stat().st_mode) & _OTHERS:
            raise KeysUnsafeError(f"{path} is open to other users; run `chmod -R go-rwx {home.keys}`")
    folder.signing_key()
    nkey_public(folder)
    if service in SEALED_FOR:
        folder.sealing_key()


def _ensure_public_keys(home: Home, service: Service) -> None:
    own = home.key_folder(service)
    public = home.public_keys
    public.path.mkdir(0o755, parents=True, exist_ok=True)
    _ensure_equal(public.signing_path(service), own.signing_key().verifying.to_pem())
    if service in SEALED_FOR:
        _ensure_equal(public.sealing_path(service), own.sealing_key().public.to_pem())


def _ensure_equal(path: Path, expected: bytes) -> None:
    if not path.exists():
        write_whole(path, expected, 0o644)
    elif path.read_bytes() != expected:
        raise KeysUnsafeError(
            f"{path} does not belong to its private key; remove it, and vreg writes it again, "
            "or restore both from one backup"
        )
