"""One client's connection to one host name behind the gateway."""

import asyncio
import socket
import struct
from dataclasses import dataclass, field

_NO_LINGER = struct.pack("ii", 1, 0)


@dataclass(eq=False)
class Connection:
    """Ended politely by `close`, or by `reset`, which the client sees as ECONNRESET."""

    host: str
    transport: asyncio.Transport
    is_local: bool = False
    """Whether it is in clear, and to an address rather than to the host's name."""
    closed: asyncio.Event = field(default_factory=asyncio.Event)

    def close(self) -> None:
        """Flush what was written and end TLS and TCP as they should end."""
        self.transport.close()

    def reset(self) -> None:
        """End with a TCP reset; whatever was not yet sent is lost."""
        peer: socket.socket | None = self.transport.get_extra_info("socket")
        if peer is not None and not self.transport.is_closing():
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self.transport.abort()
