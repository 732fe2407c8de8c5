"""Two brokers on one bus are told apart without anybody having named them."""

from pathlib import Path

import pytest

from vreg_shared.settings import SettingsError, load
from vreg_token_broker.holder import holder_of
from vreg_token_broker.settings import BrokerSettings


def test_a_state_folder_keeps_its_number_and_shares_it_with_no_other(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in "abc"]
    for folder in folders:
        folder.mkdir()
    numbers = [holder_of(folder) for folder in folders]
    assert len(set(numbers)) == 3
    assert [holder_of(folder) for folder in folders] == numbers


def test_a_number_that_was_never_finished_is_made_again(tmp_path: Path) -> None:
    (tmp_path / "holder").touch()
    assert holder_of(tmp_path) == holder_of(tmp_path) != ""


def test_a_state_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="VREG_BROKER_STATE"):
        holder_of(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("machine", "name"),
    [
        ("broker-7d9f8b6c5-x2x4z", "broker-7d9f8b6c5-x2x4z"),
        ("Build_Host.example.COM", "build-host-example-com"),
        ("-ümläut-", "ml-ut"),
        ("...", "broker"),
        ("", "broker"),
        ("a" * 62 + ".b", "a" * 62),
        ("x" * 300, "x" * 63),
    ],
)
def test_a_broker_that_nobody_named_goes_by_its_machines_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, machine: str, name: str
) -> None:
    monkeypatch.setattr("platform.node", lambda: machine)
    monkeypatch.setenv("VREG_NATS_URL", "nats://127.0.0.1:4222")
    for variable in ("VREG_KEYS", "VREG_PUBLIC_KEYS", "VREG_BROKER_STATE"):
        monkeypatch.setenv(variable, str(tmp_path))
    assert load(BrokerSettings).broker_id == name
