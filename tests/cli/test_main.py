from importlib.metadata import version
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from vreg_cli.main import app


def vreg(*arguments: str | Path, **environment: str) -> Result:
    return CliRunner(env=environment).invoke(app, [str(each) for each in arguments])


def test_it_says_its_version() -> None:
    said = vreg("--version")

    assert said.exit_code == 0
    assert said.output == f"vreg {version('vreg')}\n"


@pytest.mark.parametrize("address", ["8500", "127.0.0.1", "127.0.0.1:70000", "http://127.0.0.1:8500", ""])
def test_an_address_that_is_none_is_refused_with_an_example(tmp_path: Path, address: str) -> None:
    said = vreg("up", "--home", tmp_path / "home", "--proxy-listen", address)

    assert said.exit_code == 2
    assert "127.0.0.1:8500" in said.output
    assert not (tmp_path / "home").exists()


def test_setup_makes_keys_once_and_names_where_the_bus_listens(tmp_path: Path) -> None:
    first = vreg(
        "setup", "--nats-host", "10.0.0.5", "--nats-store", "/data", VREG_HOME=str(tmp_path / "home")
    )
    again = vreg("setup", VREG_HOME=str(tmp_path / "home"))

    assert first.output.startswith("Made keys in ")
    assert again.output.startswith("Found keys in ")
    assert first.exit_code == again.exit_code == 0


def test_what_the_system_refuses_is_one_line_that_names_the_file(tmp_path: Path) -> None:
    in_the_way = tmp_path / "home" / "nats" / "nats.new"
    in_the_way.mkdir(parents=True)
    for each in (tmp_path / "home", in_the_way.parent):
        each.chmod(0o700)

    said = vreg("setup", "--home", tmp_path / "home")

    assert said.exit_code == 2
    assert said.output == f"vreg: {in_the_way}: Is a directory; see to its owner, rights and free space\n"
