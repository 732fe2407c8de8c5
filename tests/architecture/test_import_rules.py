"""Each import contract is broken by a planted import that offends it, and by nothing else."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = {
    "vreg_api": "services/api",
    "vreg_token_broker": "services/token-broker",
    "vreg_proxy": "services/proxy",
    "vreg_shared": "shared",
    "vreg_cli": "cli",
}
CONTRACTS = [
    contract["name"]
    for contract in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
]

APART = "Services and the command never import each other; shared imports neither"
SDKS = "Only the exchanges import a cloud SDK"
PROVIDERS = "Providers know nothing of each other"
DATABASE = "Only store modules of the api import the database libraries"
NATS = "Only vreg_shared.bus imports nats"
SHARED_WEB = "Shared knows no web framework"
PROXY_WEB = "The pull path knows no web framework"
DOWNWARD = "Imports go downward: no two modules or rooms import each other"
ROOMS = "Every room of the api goes downward: endpoints, service, store, schemas"
STORES = "Rooms of the api meet above their stores"
BROKER_LAYERS = "The token-broker's layers: wiring, refreshing, one exchange, the books"
PROXY_LAYERS = "The proxy's layers: wiring, the /v2/ surface, the walk, the caches"
CLI_LAYERS = "The command's layers: main, the commands, their steps"

PLANTED = [
    (APART, "vreg_api", "import vreg_proxy"),
    (APART, "vreg_proxy", "import vreg_token_broker"),
    (APART, "vreg_token_broker", "import vreg_api"),
    (APART, "vreg_cli.home", "import vreg_api"),
    (APART, "vreg_shared.clock", "import vreg_proxy"),
    (APART, "vreg_shared.clock", "from vreg_cli import home"),
    (SDKS, "vreg_proxy.credentials", "import boto3"),
    (SDKS, "vreg_cli.keys", "from botocore.config import Config"),
    (SDKS, "vreg_shared.providers.aws.registry", "from google.auth import default"),
    (SDKS, "vreg_token_broker", "import azure.identity"),
    (SDKS, "vreg_api", "import boto3.session"),
    (PROVIDERS, "vreg_shared.providers.aws.hosts", "from vreg_shared.providers.basic import hosts"),
    (DATABASE, "vreg_proxy.lease_cache", "import sqlalchemy"),
    (DATABASE, "vreg_api", "from sqlalchemy import select"),
    (DATABASE, "vreg_token_broker", "import alembic.command"),
    (DATABASE, "vreg_shared.settings", "import asyncpg"),
    (NATS, "vreg_proxy.broker", "import nats"),
    (NATS, "vreg_shared.topology", "from nats.js import api"),
    (SHARED_WEB, "vreg_shared.errors", "from fastapi import HTTPException"),
    (SHARED_WEB, "vreg_shared.telemetry", "import starlette.requests"),
    (PROXY_WEB, "vreg_proxy.app", "from starlette.responses import Response"),
    (DOWNWARD, "vreg_shared.errors", "from vreg_shared import settings"),
    (ROOMS, "vreg_api.identities.service", "from vreg_api.identities import endpoints"),
    (ROOMS, "vreg_api.upstreams.schemas", "from vreg_api.upstreams import store"),
    (STORES, "vreg_api.upstreams.store", "from vreg_api.identities import service"),
    (BROKER_LAYERS, "vreg_token_broker.journal", "from vreg_token_broker import exchanges"),
    (PROXY_LAYERS, "vreg_proxy.cache.body", "from vreg_proxy import broker"),
    (CLI_LAYERS, "vreg_cli.home", "from vreg_cli import supervised"),
]


def copy_of(folder: Path) -> Path:
    """Copy the five packages and the contracts."""
    for package, place in FOLDERS.items():
        shutil.copytree(
            ROOT / place / package, folder / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def plant(folder: Path, module: str, line: str) -> None:
    path = folder.joinpath(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    assert path.exists(), f"{module} is no longer there: plant the violation elsewhere"
    path.write_text(f"{path.read_text()}\n{line}\n")


def verdicts(folder: Path) -> dict[str, str]:
    """Run import-linter on the copy; return KEPT or BROKEN by the contract's name."""
    ended = subprocess.run(  # noqa: S603 - our own tool
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"],
        cwd=folder,
        env={"PYTHONPATH": str(folder), "COLUMNS": "400"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    found = dict(re.findall(r"^(.+?) (KEPT|BROKEN)\b", ended.stdout, re.MULTILINE))
    assert found.keys() == set(CONTRACTS), ended.stdout + ended.stderr
    return found


def broken(folder: Path) -> list[str]:
    return [name for name, verdict in verdicts(folder).items() if verdict == "BROKEN"]


def test_the_code_keeps_every_contract(tmp_path: Path) -> None:
    assert broken(copy_of(tmp_path)) == []


def test_every_contract_has_a_planted_violation() -> None:
    assert {contract for contract, _, _ in PLANTED} == set(CONTRACTS)


@pytest.mark.parametrize(("contract", "module", "line"), PLANTED)
def test_a_planted_violation_breaks_its_contract_alone(
    tmp_path: Path, contract: str, module: str, line: str
) -> None:
    folder = copy_of(tmp_path)

    plant(folder, module, line)

    assert broken(folder) == [contract]
