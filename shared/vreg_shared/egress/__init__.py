"""Where we may connect, and the only sessions that connect there."""

from vreg_shared.egress.addresses import Address, Network, Reach, reach
from vreg_shared.egress.destination import Destination, EgressRefusedError, read_url
from vreg_shared.egress.policy import EgressPolicy, EgressScope
from vreg_shared.egress.proxy import EgressProxy, InvalidProxyError
from vreg_shared.egress.session import (
    MAX_CONNECTIONS,
    ConnectionLostError,
    InvalidAuthorityError,
    open_session,
    tls_context,
)

__all__ = [
    "MAX_CONNECTIONS",
    "Address",
    "ConnectionLostError",
    "Destination",
    "EgressPolicy",
    "EgressProxy",
    "EgressRefusedError",
    "EgressScope",
    "InvalidAuthorityError",
    "InvalidProxyError",
    "Network",
    "Reach",
    "open_session",
    "reach",
    "read_url",
    "tls_context",
]
