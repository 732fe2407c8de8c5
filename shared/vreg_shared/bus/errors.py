"""What can go wrong on the bus, by what the caller can do about it.

BusError
    BusUnavailableError      try again later; nothing is known to have happened
        NoResponderError     nobody serves this subject now
        BusHinderedError     the bus is there and cannot take this now: its bucket is full
    BusPermissionError       the server's configuration does not let this service do that
    BusRefusedError          the server said no, and would again: too large, full, malformed
    BusConflictError         somebody else has written the key since
    RequestFailedError       the responder answered that it failed
"""

from vreg_shared.errors import VregError


class BusError(VregError):
    """Any failure on the bus."""


class BusUnavailableError(BusError):
    """No answer before the deadline, or no connection: try again later."""


class NoResponderError(BusUnavailableError):
    """The bus is up and nobody serves this subject: its service is down, or its stream is not made yet."""


class BusHinderedError(BusUnavailableError):
    """The server answered that it cannot store this now (a full bucket); other things it may."""


class BusPermissionError(BusError):
    """This service's grants do not cover the subject: write nats.conf anew from `vreg_shared.topology`."""


class BusRefusedError(BusError):
    """The server understood and refused: the text says which limit or rule."""


class BusConflictError(BusError):
    """The key's latest value is not the one that was to be replaced: read it and decide anew."""


class RequestFailedError(BusError):
    """The responder's handler failed or is overloaded; the text is what it said."""
