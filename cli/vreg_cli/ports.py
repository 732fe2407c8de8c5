"""Is the port free? Asked before anything starts, so that the answer names the port and its setting."""

import errno
import socket
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass

from vreg_shared.errors import VregError
from vreg_shared.settings import Listen


class PortTakenError(VregError):
    """We cannot listen where we were told to; the text names the address, the reason and the setting."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """An address that something of ours will listen on."""

    listener: str
    listen: Listen
    setting: str


def check_ports(wanted: Iterable[Wanted]) -> None:
    """Listen on all of them at once, then let go; raise PortTakenError for the first that fails."""
    with ExitStack() as held:
        for each in wanted:
            if each.listen.port == 0:
                raise PortTakenError(f"{each.setting}: choose a port; 0 would be another one at each start")
            try:
                _listen_once(held, each.listen)
            except OSError as error:
                raise PortTakenError(_explained(each, error)) from error


def _listen_once(held: ExitStack, listen: Listen) -> None:
    family, kind, protocol, _, address = socket.getaddrinfo(
        listen.host, listen.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    probe = held.enter_context(socket.socket(family, kind, protocol))
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    probe.bind(address)
    probe.listen(1)


def _explained(wanted: Wanted, error: OSError) -> str:
    where, setting = wanted.listen, wanted.setting
    if error.errno == errno.EADDRINUSE:
        return (
            f"port {where.port} for the {wanted.listener} is taken: something else listens on {where}; "
            f"stop it, or choose another port with {setting}"
        )
    if error.errno == errno.EACCES:
        return f"port {where.port} for the {wanted.listener} needs root; choose one above 1023 with {setting}"
    why = error.strerror or str(error)
    return f"the {wanted.listener} cannot listen on {where}: {why}; choose another address with {setting}"
