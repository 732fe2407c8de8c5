"""The bus: NATS with JetStream behind our own thin supervisor; nothing else imports nats."""

from vreg_shared.bus.bus import Bus
from vreg_shared.bus.errors import (
    BusConflictError,
    BusError,
    BusHinderedError,
    BusPermissionError,
    BusRefusedError,
    BusUnavailableError,
    NoResponderError,
    RequestFailedError,
)
from vreg_shared.bus.follow import Entry
from vreg_shared.bus.read import Bookmark, Stored

__all__ = [
    "Bookmark",
    "Bus",
    "BusConflictError",
    "BusError",
    "BusHinderedError",
    "BusPermissionError",
    "BusRefusedError",
    "BusUnavailableError",
    "Entry",
    "NoResponderError",
    "RequestFailedError",
    "Stored",
]
