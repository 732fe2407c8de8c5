"""`vreg setup`: keys and the bus configuration, for those who start the services themselves."""

from pathlib import Path

from vreg_cli import nats
from vreg_cli.home import open_home
from vreg_cli.keys import ensure_keys
from vreg_cli.lock import locked
from vreg_cli.supervised import Report


def setup(home: Path, report: Report, *, nats_host: str, nats_port: int, nats_store: Path | None) -> None:
    """Make what is missing below `home`; raise VregError. Running it again changes nothing but nats.conf."""
    opened = open_home(home)
    with locked(opened):
        made = ensure_keys(opened)
        nats.write_configuration(opened, nats_port, host=nats_host, store=nats_store)
        report(f"{'Made' if made else 'Found'} keys in {opened.keys}")
        report(f"Wrote {opened.nats_configuration}")
