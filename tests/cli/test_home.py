import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from vreg_cli.home import HomeUnusableError, open_home
from vreg_cli.lock import AlreadyRunningError, locked


def test_a_new_home_is_closed_to_other_users(tmp_path: Path) -> None:
    home = open_home(tmp_path / "deep" / "home")

    for folder in home.folders():
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_an_empty_folder_is_taken_and_closed(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir(mode=0o755)

    open_home(tmp_path / "home")

    assert stat.S_IMODE((tmp_path / "home").stat().st_mode) == 0o700


def test_a_used_folder_that_others_can_look_into_is_refused_and_left_alone(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "letters").mkdir()

    with pytest.raises(HomeUnusableError, match=r"chmod go-rwx.*--home \(VREG_HOME\)"):
        open_home(tmp_path)

    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


def test_a_file_in_place_of_the_home_is_refused_with_its_path(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("not a folder")

    with pytest.raises(HomeUnusableError, match=f"home {tmp_path}/home cannot be used: .*--home"):
        open_home(tmp_path / "home")


def test_a_home_this_user_may_not_read_is_refused(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o000)

    refused = _open_as_nobody(home)

    assert f"home {home}" in refused
    assert "cannot be used: Permission denied; give it to the user who runs vreg" in refused


def _open_as_nobody(home: Path) -> str:
    """Open the home in a process that is not root's, and return what it printed."""
    program = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from vreg_cli.home import HomeUnusableError, open_home\n"
        "if not os.geteuid(): os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "try: open_home(Path(sys.argv[1]))\n"
        "except HomeUnusableError as error: print(error)\n"
    )
    ended = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", program, str(home)], capture_output=True, text=True, check=False, timeout=60
    )
    return ended.stdout + ended.stderr


def test_a_home_is_held_by_one_process_at_a_time(tmp_path: Path) -> None:
    home = open_home(tmp_path / "home")

    with locked(home), pytest.raises(AlreadyRunningError) as refused, locked(home):
        pass

    assert f"process {os.getpid()}" in str(refused.value)
    assert "--home" in str(refused.value)


def test_a_home_can_be_held_again_once_it_was_let_go(tmp_path: Path) -> None:
    home = open_home(tmp_path / "home")

    with locked(home):
        pass
    with locked(home):
        assert home.lock.read_text() == f"{os.getpid()}\n"
