"""The `vreg` command: what there is, and the options of running vreg on one machine."""

import os
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from vreg_cli.commands import audit, identity, issuer
from vreg_cli.commands.connection_test import connection_test
from vreg_cli.commands.trust import trust
from vreg_cli.console import HomeOption, one_line, say
from vreg_cli.environment import Addresses
from vreg_cli.setup import setup as set_up
from vreg_cli.up import Wishes
from vreg_cli.up import up as bring_up
from vreg_shared.settings import Listen

_MAX_PORT = 65535

app = typer.Typer(
    name="vreg",
    help="A container virtual registry: one address for the images of many registries.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # its traceback shows local variables
)


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
def up(  # noqa: PLR0913 - each option is an argument
    *,
    home: HomeOption = Path(".vreg"),
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
    metrics_listen: Annotated[
        Listen,
        typer.Option(
            parser=_listen,
            metavar="HOST:PORT",
            envvar="VREG_PROXY_METRICS_LISTEN",
            help="Where the proxy tells Prometheus of itself.",
        ),
    ] = Listen("127.0.0.1:8501"),  # noqa: B008 - an immutable string
) -> None:
    """Run all of vreg on this machine: bus, api, token-broker and proxy."""
    addresses = Addresses(proxy_listen, api_listen, Listen(f"127.0.0.1:{nats_port}"), metrics_listen)
    with one_line():
        bring_up(Wishes(home, addresses, workers, dict(os.environ)), say)


@app.command()
def setup(
    *,
    home: HomeOption = Path(".vreg"),
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
    with one_line():
        set_up(home, say, nats_host=nats_host, nats_port=nats_port, nats_store=nats_store)


app.command()(trust)
app.command("test")(connection_test)
app.add_typer(audit.app, name="audit")
app.add_typer(identity.app, name="identity")
app.add_typer(issuer.app, name="issuer")
