"""The bus: NATS with JetStream behind our own thin supervisor; nothing else imports nats."""

from vreg_shared.bus.bus import Bus
from vreg_shared.bus.errors import (
    BusError,
    BusPermissionError,
    BusRefusedError,
    BusUnavailableError,
    NoResponderError,
    RequestFailedError,
)
from vreg_shared.bus.follow import Entry

__all__ = [
    "Bus",
    "BusError",
    "BusPermissionError",
    "BusRefusedError",
    "BusUnavailableError",
    "Entry",
    "NoResponderError",
    "RequestFailedError",
]
