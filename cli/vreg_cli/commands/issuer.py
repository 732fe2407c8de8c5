"""`vreg issuer`: the keys that vreg signs its own identity tokens with, and what clouds read of them."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Final

import typer

from vreg_cli import issuer_keys
from vreg_cli.console import HomeOption, one_line, say
from vreg_cli.home import Home
from vreg_cli.issuer_rotation import OVERLAP
from vreg_cli.whole_files import write_whole
from vreg_shared.issuer_documents import DISCOVERY_PATH, JWKS_PATH, discovery_document
from vreg_shared.issuer_keys import IssuerKey, IssuerKeys
from vreg_shared.settings import GrantSettings, SettingsError, load

app = typer.Typer(help="The keys that vreg signs its own identity tokens with.", no_args_is_help=True)

_HOUR: Final = timedelta(hours=1)
_OverlapOption = Annotated[
    float,
    typer.Option(
        "--overlap",
        metavar="HOURS",
        min=0,
        max=24 * 365,
        help="How long a key is published before it signs, and after the next one does.",
    ),
]


@app.command()
def rotate(*, home: HomeOption = Path(".vreg"), overlap: _OverlapOption = OVERLAP / _HOUR) -> None:
    """Add a key that signs once clouds know it, and drop keys long superseded; vreg may go on running."""
    with one_line():
        done = issuer_keys.rotate(_home(home), datetime.now(UTC), overlap * _HOUR)
        for key in done.dropped:
            say(f"Dropped {key.kid}")
        if done.added is not None:
            say(f"Added   {key_line(done.added)}")
        for key in done.keys.waiting(datetime.now(UTC)):
            if key is not done.added:
                say(f"Waits   {key_line(key)}; a new key is added once it signs")


@app.command()
def show(*, home: HomeOption = Path(".vreg")) -> None:
    """Show the issuer's URL and its keys, and which of them signs."""
    with one_line():
        now, keys = datetime.now(UTC), issuer_keys.read_keys(_home(home))
        say(f"issuer     {load(GrantSettings).issuer_url or 'has no URL yet (VREG_ISSUER_URL)'}")
        for key in keys.keys:
            say(f"{_state(key, keys, now):<11}{key_line(key)}")


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where to write; made if it is missing.")],
    *,
    home: HomeOption = Path(".vreg"),
) -> None:
    """Write what clouds read as static files, for a public bucket behind VREG_ISSUER_URL."""
    with one_line():
        url = load(GrantSettings).issuer_url
        if url is None:
            raise SettingsError(
                "VREG_ISSUER_URL: is not set; set it to the URL that FOLDER will be published at, as vreg is"
            )
        jwks = _home(home).public_keys.issuer_jwks_path.read_bytes()
        for path, content in ((DISCOVERY_PATH, discovery_document(url)), (JWKS_PATH, jwks)):
            file = folder / path.lstrip("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            write_whole(file, content, 0o644)
            say(f"Wrote {file} for {url}{path}")


def key_line(key: IssuerKey) -> str:
    """Return one line that says which key it is and from when it signs."""
    return f"{key.kid} signs from {key.signs_from:%Y-%m-%d %H:%M:%S} UTC"


def _home(path: Path) -> Home:
    return Home(path.expanduser().absolute())


def _state(key: IssuerKey, keys: IssuerKeys, now: datetime) -> str:
    if key is keys.signing(now):
        return "signs"
    return "waits" if key in keys.waiting(now) else "superseded"
