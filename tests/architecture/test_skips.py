import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).resolve().parents[1] / "conftest.py"
SKIPPED = "import pytest\ndef test_one(): pytest.skip('no dockerd here')\n"
EXPECTED = "import pytest\n@pytest.mark.xfail(reason='known')\ndef test_one(): assert False\n"
NOT_COLLECTED = "import pytest\npytest.skip('no dockerd here', allow_module_level=True)\n"


def run_pytest(folder: Path, test: str, **environment: str) -> tuple[int, str]:
    shutil.copy(CONFTEST, folder)
    (folder / "test_skipping.py").write_text(test)
    ended = subprocess.run(  # noqa: S603 - our own tests
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rf", str(folder)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return ended.returncode, ended.stdout


@pytest.mark.parametrize("test", [SKIPPED, NOT_COLLECTED])
def test_a_skipped_test_is_a_failure_in_ci_that_says_why(tmp_path: Path, test: str) -> None:
    code, output = run_pytest(tmp_path, test, CI="true")

    assert code != 0
    assert "no dockerd here" in output


def test_a_skipped_test_is_no_failure_elsewhere(tmp_path: Path) -> None:
    assert run_pytest(tmp_path, SKIPPED)[0] == 0


def test_an_expected_failure_is_no_skip(tmp_path: Path) -> None:
    assert run_pytest(tmp_path, EXPECTED, CI="true")[0] == 0
