"""How a command speaks: lines on the terminal, and every expected failure as one line and exit code 2."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Final

import typer

from vreg_shared.errors import VregError

REFUSED: Final = 2
INTERRUPTED: Final = 130

HomeOption = Annotated[
    Path, typer.Option("--home", envvar="VREG_HOME", help="Folder for keys, state, cache and logs.")
]


def say(line: str) -> None:
    """Print at once; a reader who went away is no reason to stop."""
    with suppress(OSError):
        typer.echo(line)


@contextmanager
def one_line() -> Iterator[None]:
    """Tell in one line why the block failed, and exit."""
    try:
        yield
    except VregError as error:
        typer.echo(f"vreg: {error}", err=True)
        raise typer.Exit(REFUSED) from error
    except OSError as error:
        where = error.filename or "the system"
        typer.echo(f"vreg: {where}: {error.strerror}; see to its owner, rights and free space", err=True)
        raise typer.Exit(REFUSED) from error
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
