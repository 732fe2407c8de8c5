from pathlib import Path

from vreg_cli.logs import bound, last_line, open_log


def test_a_log_that_has_grown_is_set_aside_while_its_writer_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "proxy.log"
    with open_log(path) as log:
        log.write(b"old\n" * 100)
        bound(path, max_bytes=100)
        log.write(b"new\n")

    assert path.read_text() == "new\n"
    assert path.with_name("proxy.log.1").read_text() == "old\n" * 100


def test_a_short_log_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "proxy.log"
    path.write_text("short")

    bound(path, max_bytes=100)

    assert path.read_text() == "short"


def test_the_last_words_are_those_of_this_run(tmp_path: Path) -> None:
    path = tmp_path / "proxy.log"
    path.write_text("before\n")

    assert last_line(path, since=7) == ""
    path.write_text("before\nfirst\nlast\n\n")
    assert last_line(path, since=7) == "last"
    path.write_text("cut\n")
    assert last_line(path, since=7) == "cut"
