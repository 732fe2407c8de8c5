"""`vreg issuer` and the issuer's keys on disk, as an operator meets them."""

import json
import shutil
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tests.support.issuer_site import ISSUER_URL, exported, verified
from vreg_cli.home import Home, open_home
from vreg_cli.issuer_keys import KeysUnsafeError, ensure_issuer_keys, rotate
from vreg_cli.keys import ensure_keys
from vreg_cli.main import app
from vreg_shared.issuer_keys import read_issuer_keys
from vreg_shared.key_files import MissingKeyError, Service
from vreg_token_broker.issuer import Claims, signed

HOUR = timedelta(hours=1)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    opened = open_home(tmp_path / "home")
    ensure_keys(opened)
    return opened


def folder(home: Home) -> Path:
    return home.key_folder(Service.TOKEN_BROKER).issuer_path


def published(home: Home) -> list[dict[str, str]]:
    keys: list[dict[str, str]] = json.loads(home.public_keys.issuer_jwks_path.read_text())["keys"]
    return keys


def contents(home: Home) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in home.keys.rglob("*") if path.is_file()}


def vreg(home: Home, *arguments: str | Path, issuer_url: str | None = ISSUER_URL) -> Result:
    environment = {"VREG_HOME": str(home.path), "VREG_ISSUER_URL": issuer_url}
    return CliRunner(env=environment).invoke(app, ["issuer", *(str(each) for each in arguments)])


def token(home: Home, at: datetime) -> str:
    key = read_issuer_keys(folder(home)).signing(at)
    return signed(key, Claims(ISSUER_URL, "vreg:identity:x", "sts.example", at, "1")).reveal()


def test_the_first_start_makes_a_private_key_and_publishes_the_other_half(home: Home) -> None:
    [path] = folder(home).iterdir()
    [key] = published(home)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(home.public_keys.issuer_jwks_path.stat().st_mode) == 0o644
    assert (key["kty"], key["use"], key["alg"], key["e"]) == ("RSA", "sig", "RS256", "AQAB")
    assert key.keys() == {"kty", "use", "alg", "kid", "n", "e"}


def test_a_home_from_before_there_was_an_issuer_gets_a_key_and_keeps_the_others(home: Home) -> None:
    shutil.rmtree(folder(home))
    home.public_keys.issuer_jwks_path.unlink()
    before = contents(home)

    assert not ensure_keys(home)

    assert before.items() <= contents(home).items()
    assert len(published(home)) == 1


def test_public_keys_that_are_gone_or_stale_are_published_again(home: Home) -> None:
    before = contents(home)
    home.public_keys.issuer_jwks_path.write_text('{"keys": []}')

    ensure_keys(home)

    assert contents(home) == before


def test_private_keys_that_are_gone_are_never_made_anew_unasked(home: Home) -> None:
    shutil.rmtree(folder(home))

    with pytest.raises(MissingKeyError, match="restore the folder from a backup, or remove the file"):
        ensure_keys(home)


def test_a_private_key_that_others_can_read_is_refused(home: Home) -> None:
    next(folder(home).iterdir()).chmod(0o640)

    with pytest.raises(KeysUnsafeError, match="chmod -R go-rwx"):
        ensure_keys(home)


@pytest.mark.parametrize("name", ["20261124T185900Z.key", "mine.key"])
def test_what_is_no_key_is_named(home: Home, name: str) -> None:
    (folder(home) / name).write_text("not a key")

    with pytest.raises(MissingKeyError, match=name):
        read_issuer_keys(folder(home))


async def test_tokens_signed_before_during_and_after_a_rotation_verify_against_the_keys_of_each_moment(
    home: Home, tmp_path: Path
) -> None:
    start = datetime(2026, 11, 23, 12, tzinfo=UTC)
    shutil.rmtree(folder(home))
    home.public_keys.issuer_jwks_path.unlink()
    ensure_issuer_keys(home, start)
    kids = set()
    for hours in range(0, 72, 12):
        now = start + hours * HOUR
        if hours in {0, 60}:
            rotate(home, now, 24 * HOUR)
        vreg(home, "export", tmp_path / str(hours))
        said = await verified(token(home, now), now, exported(tmp_path / str(hours)))
        assert (said.subject, said.audience) == ("vreg:identity:x", "sts.example")
        kids.add(read_issuer_keys(folder(home)).signing(now).kid)
        before = await verified(token(home, now), now, exported(tmp_path / str(max(hours - 24, 0))))
        assert before == said  # by a cloud that read the keys a day ago
    assert len(kids) == 2
    assert len(published(home)) == 2  # the first was superseded for more than a day


def test_rotating_adds_a_key_that_waits_and_drops_one_long_superseded(home: Home) -> None:
    [first] = published(home)

    added = vreg(home, "rotate", "--overlap", "1")
    waiting = vreg(home, "rotate", "--overlap", "1")

    assert added.output.startswith("Added ")
    assert waiting.output.startswith("Waits ")
    assert published(home)[0] == first
    assert len(published(home)) == 2
    later = datetime.now(UTC) + 3 * HOUR
    rotation = rotate(home, later, HOUR)
    assert [key.kid for key in rotation.dropped] == [first["kid"]]
    assert first["kid"] not in {key["kid"] for key in published(home)}
    assert {path.name for path in folder(home).iterdir()} == {key.file_name for key in rotation.keys.keys}


def test_keys_are_shown_with_what_they_do(home: Home) -> None:
    vreg(home, "rotate")
    shown = vreg(home, "show").output.splitlines()

    assert shown[0].split() == ["issuer", ISSUER_URL]
    assert [line.split()[0] for line in shown[1:]] == ["signs", "waits"]
    assert [line.split()[1] for line in shown[1:]] == [key["kid"] for key in published(home)]


def test_an_export_needs_the_url_it_will_be_published_at(home: Home, tmp_path: Path) -> None:
    refused = vreg(home, "export", tmp_path / "site", issuer_url=None)

    assert refused.exit_code == 2
    assert "VREG_ISSUER_URL" in refused.output
    assert not (tmp_path / "site").exists()


def test_an_export_holds_the_two_documents_and_no_private_key(home: Home, tmp_path: Path) -> None:
    done = vreg(home, "export", tmp_path / "site")

    assert done.exit_code == 0
    site = tmp_path / "site"
    files = {str(path.relative_to(site)) for path in site.rglob("*") if path.is_file()}
    assert files == {".well-known/openid-configuration", "jwks.json"}
    metadata = json.loads((site / ".well-known" / "openid-configuration").read_text())
    assert metadata["issuer"] == ISSUER_URL
    assert metadata["jwks_uri"] == f"{ISSUER_URL}/jwks.json"
    assert "PRIVATE" not in done.output
    assert '"d"' not in (site / "jwks.json").read_text()


@pytest.mark.parametrize("command", ["rotate", "show", "export"])
def test_a_home_that_was_not_set_up_is_one_line(tmp_path: Path, command: str) -> None:
    arguments = [command, *([tmp_path / "site"] if command == "export" else [])]
    refused = vreg(Home(tmp_path / "nothing"), *arguments)

    assert refused.exit_code == 2
    assert refused.output.startswith("vreg: ")
    assert refused.output.count("\n") == 1
    assert not (tmp_path / "nothing").exists()
