"""Dockerfile and docker-compose.yml name settings, commands, ports and paths: each must exist."""

import importlib
import importlib.util
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import AliasChoices
from typer.main import get_command
from typer.testing import CliRunner

from vreg_cli.main import app
from vreg_shared.settings import ServiceSettings

ROOT = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
DOCKERFILE = (ROOT / "Dockerfile").read_text()
OURS = {
    name: service
    for name, service in COMPOSE["services"].items()
    if service.get("image", "").startswith("vreg")
}
SERVICES = {"vreg_api", "vreg_token_broker", "vreg_proxy"}
VREG_HOME = "VREG_HOME"


def settings_class(module: str) -> type[ServiceSettings]:
    """Return the one settings class that the service's `settings` module defines."""
    importlib.import_module(f"{module}.settings")
    [found] = [each for each in ServiceSettings.__subclasses__() if each.__module__.startswith(f"{module}.")]
    return found


def variables(settings: type[ServiceSettings]) -> set[str]:
    names: set[str] = set()
    for name, field in settings.model_fields.items():
        alias = field.validation_alias
        names |= (
            {str(choice) for choice in alias.choices}
            if isinstance(alias, AliasChoices)
            else {f"VREG_{name}".upper()}
        )
    return names


def module_of(service: dict[str, Any]) -> str | None:
    command = service["command"]
    return command[2] if command[:2] == ["python", "-m"] else None


def default_port(setting: str) -> str:
    module = {"API": "vreg_api", "PROXY": "vreg_proxy"}[setting]
    return str(settings_class(module).model_fields[f"{setting.lower()}_listen"].default).rpartition(":")[2]


def test_every_part_is_there() -> None:
    assert {"nats", "postgres", "api", "token-broker", "proxy"} <= COMPOSE["services"].keys()


@pytest.mark.parametrize("name", OURS)
def test_every_variable_is_a_setting_of_the_service_it_is_given_to(name: str) -> None:
    module = module_of(OURS[name])
    known = variables(settings_class(module)) if module else set()

    assert set(OURS[name].get("environment", {})) <= known


@pytest.mark.parametrize("name", OURS)
def test_every_setting_that_must_be_set_is_set(name: str) -> None:
    module = module_of(OURS[name])
    if module is None:
        return
    given = OURS[name].get("environment", {}).keys() | set(re.findall(r"\b(VREG_\w+)=", DOCKERFILE))

    for field_name, field in settings_class(module).model_fields.items():
        if field.is_required():
            assert f"VREG_{field_name}".upper() in given


@pytest.mark.parametrize("name", OURS)
def test_every_command_exists(name: str) -> None:
    command = OURS[name]["command"]
    if command[:2] == ["python", "-m"]:
        assert importlib.util.find_spec(f"{command[2]}.__main__") is not None
        assert command[3:] in ([], ["migrate"])
    else:
        parsed = CliRunner().invoke(app, [*command[1:], "--help"])
        assert parsed.exit_code == 0, parsed.output
        options = {word for word in command if word.startswith("--")}
        known = {
            option
            for parameter in get_command(app).commands[command[1]].params  # type: ignore[attr-defined]
            for option in parameter.opts
        }
        assert options <= known


def test_commands_of_the_image_exist() -> None:
    modules = set(re.findall(r"python\W+-m\W+(vreg_\w+)", DOCKERFILE))

    assert modules == SERVICES
    for module in modules:
        assert importlib.util.find_spec(f"{module}.__main__") is not None


def test_variables_of_the_image_are_settings_of_every_service_or_of_the_command() -> None:
    named = set(re.findall(r"\b(VREG_\w+)=", DOCKERFILE))

    assert named - {VREG_HOME} <= variables(ServiceSettings)


@pytest.mark.parametrize(("name", "setting"), [("api", "API"), ("proxy", "PROXY")])
def test_ports_are_those_the_services_listen_on_by_default(name: str, setting: str) -> None:
    service = COMPOSE["services"][name]
    port = default_port(setting)

    assert service["environment"][f"VREG_{setting}_LISTEN"].endswith(f":{port}")
    assert service["ports"] == [f"127.0.0.1:{port}:{port}"]
    assert any(f":{port}/readyz" in part for part in service["healthcheck"]["test"])
    assert port in re.findall(r"^EXPOSE (.*)$", DOCKERFILE, re.MULTILINE)[0].split()


@pytest.mark.parametrize("name", ["api", "token-broker", "proxy", "migrate"])
def test_a_service_mounts_its_own_keys_and_the_public_ones_only(name: str) -> None:
    service = COMPOSE["services"][name]
    keys = [volume for volume in service["volumes"] if volume.startswith("keys-")]
    own = "api" if name == "migrate" else name

    assert keys == [
        f"keys-{own}:/var/lib/vreg/keys/{own}:ro",
        "keys-public:/var/lib/vreg/keys/public:ro",
    ]
    assert service["environment"]["VREG_KEYS"] == f"/var/lib/vreg/keys/{own}"


def test_every_volume_and_network_that_is_used_is_declared() -> None:
    for service in COMPOSE["services"].values():
        assert {volume.partition(":")[0] for volume in service.get("volumes", [])} <= COMPOSE[
            "volumes"
        ].keys()
        assert set(service.get("networks", [])) <= COMPOSE["networks"].keys()
        assert service.get("depends_on", {}).keys() <= COMPOSE["services"].keys()


def test_every_mounted_folder_of_ours_is_made_for_the_user_of_the_image() -> None:
    made = set(re.findall(r"/var/lib/vreg[\w/-]*", DOCKERFILE))

    for service in OURS.values():
        for volume in service.get("volumes", []):
            assert volume.split(":")[1] in made


def test_the_bus_listens_where_services_look_for_it() -> None:
    setup = COMPOSE["services"]["setup"]["command"]

    assert setup[2:4] == ["--nats-host", "0.0.0.0"]  # noqa: S104 - of a container, whose network is closed
    for name in ("api", "token-broker", "proxy"):
        assert COMPOSE["services"][name]["environment"]["VREG_NATS_URL"] == "nats://nats:4222"


def test_no_password_has_a_default() -> None:
    text = (ROOT / "docker-compose.yml").read_text()

    for use in re.findall(r"\$\{(\w*PASSWORD\w*)(.*?)\}", text):
        assert use[1].startswith(":?"), use
    assert "ENV POSTGRES" not in DOCKERFILE
    assert not re.search(r"PASSWORD\s*[:=]\s*['\"]?[A-Za-z0-9]", text.replace("POSTGRES_PASSWORD=$(", ""))


def test_every_path_the_image_copies_exists_and_is_not_ignored() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().split() if line.startswith("!")}

    for line in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.MULTILINE):
        for source in shlex.split(line)[:-1]:
            assert (ROOT / source).exists(), source
            assert source in allowed


def test_the_image_installs_by_hash_and_runs_without_root() -> None:
    assert "--require-hashes -r constraints.txt" in DOCKERFILE
    assert re.search(r"^USER vreg$", DOCKERFILE, re.MULTILINE)
