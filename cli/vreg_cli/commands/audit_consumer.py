"""`vreg audit consumer`: who outside of vreg may read audit events from the bus, and nothing else of it."""

from pathlib import Path

import typer

from vreg_cli import nats
from vreg_cli.console import HomeOption, one_line, say
from vreg_cli.home import Home
from vreg_cli.keys import consumer_names, make_consumer, nkey_public, remove_consumer
from vreg_shared.topology import AUDIT, consumer_inbox_prefix, consumer_of, consumer_user

app = typer.Typer(help="Outside consumers of audit events.", no_args_is_help=True)


@app.command()
def create(name: str, *, home: HomeOption = Path(".vreg")) -> None:
    """Make what a consumer signs in to the bus with; it may read audit events and do nothing else."""
    with one_line():
        opened, inbox = Home(home.expanduser().absolute()), consumer_inbox_prefix(name)
        folder = make_consumer(opened, name)
        say(f"Made consumer {name}; give its program, and nobody else:")
        say(f"  nkey seed     {folder.nkey_path}")
        say(f"  stream        {AUDIT.name}, subjects {AUDIT.subjects}")
        say(f"  feed name     {consumer_of(name)}")
        say(f"  inbox prefix  {inbox}")
        _tell_bus(opened, name)


@app.command("list")
def list_consumers(*, home: HomeOption = Path(".vreg")) -> None:
    """Show every consumer and its public nkey."""
    with one_line():
        opened = Home(home.expanduser().absolute())
        for name in consumer_names(opened):
            say(f"{name:<20}{nkey_public(opened.consumer_folder(name))}")


@app.command()
def delete(name: str, *, home: HomeOption = Path(".vreg")) -> None:
    """Take a consumer's access away; the bus hangs up on it."""
    with one_line():
        opened = Home(home.expanduser().absolute())
        remove_consumer(opened, name)
        say(f"Deleted consumer {name}")
        _tell_bus(opened)


def _tell_bus(home: Home, made: str | None = None) -> None:
    """Have the bus know who there is; where it is not ours to tell, say what its operator must do."""
    if nats.rewrite_configuration(home):
        say(f"Wrote {home.nats_configuration}")
    if nats.reload(home):
        say("The bus has read it")
        return
    say("No bus of `vreg up` runs here: send yours SIGHUP once it has this file, or start vreg.")
    if made is not None:
        say("A bus with a configuration of its own needs this user in it:")
        say(consumer_user(made, nkey_public(home.consumer_folder(made))))
