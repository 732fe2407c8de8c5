import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TARGETS = (
    "help",
    "install",
    "up",
    "demo",
    "test",
    "test-faults",
    "check",
    "format",
    "docs",
    "endurance",
    "bench",
    "lock",
    "clean",
)


def test_make_alone_lists_every_target_with_its_meaning() -> None:
    ended = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)  # noqa: S607

    listed = dict(re.findall(r"^  make (\S+) +(\S.*)$", ended.stdout, re.MULTILINE))
    assert tuple(listed) == TARGETS


def test_check_runs_all_four_gates() -> None:
    recipe = (ROOT / "Makefile").read_text().partition("\ncheck:")[2].partition("\n\n")[0]

    for gate in ("ruff format --check", "ruff check", "mypy", "lint-imports"):
        assert gate in recipe


def test_ci_runs_what_people_run() -> None:
    script = (ROOT / ".ci/run").read_text()

    assert "make check" in script
    assert "make test" in script


def test_scripts_can_be_executed() -> None:
    for path in (".ci/run", "tests/make-venv", "tests/install-tools"):
        assert (ROOT / path).stat().st_mode & 0o111, path
