"""A cloud that vreg has never heard of, added by the recipe: a folder, an exchange, and its emulator."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]
_TOY = Path(__file__).with_name("toy_cloud")
_COPIED = ("shared", "services", "docs", "migrations", "tests", "cli", "pyproject.toml")
_SOURCES = ("shared", "services/api", "services/token-broker", "services/proxy", "cli", ".")
_SCHEMA = (
    "import json; from pydantic import TypeAdapter; "
    "from vreg_api.identities.schemas import AnyIdentityCreate; "
    "print(json.dumps(TypeAdapter(AnyIdentityCreate).json_schema()))"
)
_SECONDS = 240


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the source tree with one cloud more."""
    folder: Path = tmp_path_factory.mktemp("tree")
    unwanted = shutil.ignore_patterns("__pycache__", "toy_cloud", "node_modules")
    for name in _COPIED:
        source = _ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=unwanted)
        else:
            shutil.copy(source, folder / name)
    shutil.copytree(_TOY, folder, dirs_exist_ok=True)
    return folder


def run(tree: Path, *arguments: str) -> str:
    """Run this interpreter on the copied tree; return what it printed."""
    path = os.pathsep.join(str(tree / source) for source in _SOURCES)
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    ended = subprocess.run(  # noqa: S603 -- this very interpreter
        [sys.executable, *arguments],
        cwd=tree,
        env=environment,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout[-4000:] + ended.stderr[-2000:]
    return ended.stdout


def test_the_recipe_is_a_folder_and_an_exchange() -> None:
    added = {path.relative_to(_TOY).as_posix() for path in _TOY.rglob("*.py")}
    assert {name for name in added if not name.startswith("tests/")} == {
        "shared/vreg_shared/providers/toy/__init__.py",
        "services/token-broker/vreg_token_broker/exchanges/toy.py",
    }
    assert not any((_ROOT / name).exists() for name in added), "nothing that exists is replaced"


def test_the_contract_kit_takes_it_in(tree: Path) -> None:
    said = run(
        tree, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/contract", "-k", "toy and not new_cloud"
    )
    passed = int(said.rsplit(" passed", 1)[0].split()[-1])
    assert passed >= 15, said


def test_its_page_is_written(tree: Path) -> None:
    run(tree, "docs/generate.py", str(tree / "pages"))
    text = (tree / "pages" / "toy.md").read_text()
    assert "# Toy Cloud" in text
    assert "`toy.key`" in text
    assert "Let the registry's owner add the account to its readers." in text
    assert "toy.md" in (tree / "pages" / "README.md").read_text()


def test_the_api_describes_its_form(tree: Path) -> None:
    forms = json.loads(run(tree, "-c", _SCHEMA))["$defs"]
    assert forms["ToyKey"]["properties"]["account"]["title"] == "Account"
    assert forms["ToyKey"]["properties"]["key"]["writeOnly"] is True
    assert "ToyIdentityCreate" in forms
    suites = ("tests/api/test_openapi.py", "tests/shared/test_providers.py")
    assert " passed" in run(tree, "-m", "pytest", "-q", "-p", "no:cacheprovider", *suites)
