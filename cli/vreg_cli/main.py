"""The `vreg` command: reads options, and turns every expected failure into one line and exit code 2."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from vreg_cli.environment import Addresses
from vreg_cli.setup import setup as set_up
from vreg_cli.up import Wishes
from vreg_cli.up import up as bring_up
from vreg_shared.errors import VregError
from vreg_shared.settings import Listen

_REFUSED = 2
_MAX_PORT = 65535

app = typer.Typer(
    name="vreg",
    help="A container virtual registry: one address for the images of many registries.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # its traceback shows local variables
)

_HomeOption = Annotated[
    Path, typer.Option("--home", envvar="VREG_HOME", help="Folder for keys, state, cache and logs.")
]


def _say(line: str) -> None:
    """Print at once; a reader who went away is no reason to stop."""
    with suppress(OSError):
        typer.echo(line)


@contextmanager
def _one_line() -> Iterator[None]:
    try:
        yield
    except VregError as error:
        typer.echo(f"vreg: {error}", err=True)
        raise typer.Exit(_REFUSED) from error
    except OSError as error:
        where = error.filename or "the system"
        typer.echo(f"vreg: {where}: {error.strerror}; see to its owner, rights and free space", err=True)
        raise typer.Exit(_REFUSED) from error
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def _listen(text: str) -> Listen:
    try:
        return Listen.parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


@app.callback(invoke_without_command=True)
def vreg(
    *, show_version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False
) -> None:
    """Say which version this is, or leave it to a command."""
    if show_version:
        typer.echo(f"vreg {version('vreg')}")
        raise typer.Exit


@app.command()
def up(
    *,
    home: _HomeOption = Path(".vreg"),
    proxy_listen: Annotated[
        Listen,
        typer.Option(
            parser=_listen, metavar="HOST:PORT", envvar="VREG_PROXY_LISTEN", help="Where clients pull from."
        ),
    ] = Listen("127.0.0.1:8500"),  # noqa: B008 - an immutable string
    api_listen: Annotated[
        Listen,
        typer.Option(
            parser=_listen, metavar="HOST:PORT", envvar="VREG_API_LISTEN", help="Where the API answers."
        ),
    ] = Listen("127.0.0.1:8600"),  # noqa: B008 - an immutable string
    nats_port: Annotated[
        int,
        typer.Option(
            metavar="PORT",
            envvar="VREG_NATS_PORT",
            min=1,
            max=_MAX_PORT,
            help="Port of the bus, on 127.0.0.1.",
        ),
    ] = 4222,
    workers: Annotated[
        int,
        typer.Option(envvar="VREG_PROXY_WORKERS", min=1, max=64, help="Worker processes of the proxy."),
    ] = 1,
) -> None:
    """Run all of vreg on this machine: bus, api, token-broker and proxy."""
    addresses = Addresses(proxy_listen, api_listen, Listen(f"127.0.0.1:{nats_port}"))
    with _one_line():
        bring_up(Wishes(home, addresses, workers, dict(os.environ)), _say)


@app.command()
def setup(
    *,
    home: _HomeOption = Path(".vreg"),
    nats_host: Annotated[str, typer.Option(help="Address the bus will listen on.")] = "127.0.0.1",
    nats_port: Annotated[
        int,
        typer.Option(
            metavar="PORT", envvar="VREG_NATS_PORT", min=1, max=_MAX_PORT, help="Port the bus will listen on."
        ),
    ] = 4222,
    nats_store: Annotated[
        Path | None, typer.Option(help="Where the bus will keep its streams, as it sees the path.")
    ] = None,
) -> None:
    """Make keys and the bus configuration, and start nothing: for containers and clusters."""
    with _one_line():
        set_up(home, _say, nats_host=nats_host, nats_port=nats_port, nats_store=nats_store)
