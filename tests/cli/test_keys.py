import stat
from pathlib import Path

import pytest

from vreg_cli.home import Home, open_home
from vreg_cli.keys import KeysUnsafeError, ensure_keys
from vreg_cli.nats import write_configuration
from vreg_shared.key_files import SEALED_FOR, MissingKeyError, Service
from vreg_shared.sealing import open_sealed, seal
from vreg_shared.secret import Secret


@pytest.fixture
def home(tmp_path: Path) -> Home:
    opened = open_home(tmp_path / "home")
    assert ensure_keys(opened)
    return opened


def contents(home: Home) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in home.keys.rglob("*") if path.is_file()}


def test_private_keys_are_for_their_owner_alone(home: Home) -> None:
    for service in Service:
        folder = home.key_folder(service).path
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        for path in folder.rglob("*"):
            assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)


def test_a_public_key_fits_its_private_one(home: Home) -> None:
    for service in Service:
        signature = home.key_folder(service).signing_key().sign(b"record")
        home.public_keys.verifying_key(service).verify(signature, b"record")
    for service in SEALED_FOR:
        sealed = seal(Secret("s"), home.public_keys.sealing_key(service), {})
        assert open_sealed(sealed, home.key_folder(service).sealing_key(), {}) == Secret("s")


def test_only_those_others_seal_for_have_a_sealing_key(home: Home) -> None:
    assert not home.key_folder(Service.API).sealing_key_path.exists()


def test_a_second_start_changes_no_key(home: Home) -> None:
    before = contents(home)

    assert not ensure_keys(home)

    assert contents(home) == before


@pytest.mark.parametrize("name", ["signing.key", "sealing.key", "nkey.seed"])
def test_a_missing_private_key_is_never_made_anew(home: Home, name: str) -> None:
    path = home.key_folder(Service.TOKEN_BROKER).path / name
    path.unlink()

    with pytest.raises(MissingKeyError, match=f"{path} is missing; restore it from a backup, or remove"):
        ensure_keys(home)

    assert not path.exists()


@pytest.mark.parametrize("name", ["signing.key", "sealing.key", "nkey.seed"])
def test_a_private_key_that_is_no_key_is_named(home: Home, name: str) -> None:
    path = home.key_folder(Service.PROXY).path / name
    path.write_text("not a key")

    with pytest.raises(MissingKeyError, match=str(path)):
        ensure_keys(home)


def test_a_missing_public_key_is_written_again(home: Home) -> None:
    before = contents(home)
    home.public_keys.signing_path(Service.API).unlink()

    ensure_keys(home)

    assert contents(home) == before


def test_a_public_key_of_another_pair_is_refused(home: Home) -> None:
    other = home.public_keys.signing_path(Service.PROXY).read_bytes()
    home.public_keys.signing_path(Service.API).write_bytes(other)

    with pytest.raises(KeysUnsafeError, match="does not belong to its private key"):
        ensure_keys(home)


def test_a_private_key_that_others_can_read_is_refused(home: Home) -> None:
    home.key_folder(Service.API).signing_key_path.chmod(0o644)

    with pytest.raises(KeysUnsafeError, match="chmod -R go-rwx"):
        ensure_keys(home)


def test_the_bus_configuration_holds_public_nkeys_and_no_seed(home: Home) -> None:
    write_configuration(home, 4222)

    text = home.nats_configuration.read_text()
    assert "sync_interval: always" in text
    for service in Service:
        assert home.key_folder(service).nkey_seed().reveal() not in text
    assert text.count("nkey:") == len(Service)
