"""Google: a key, a signed identity token, an AWS identity or the machine's own becomes an access token."""

from vreg_token_broker.exchange import Exchange, ExchangeWorld
from vreg_token_broker.exchanges.gcp.ladder import GcpExchange


def exchange(world: ExchangeWorld) -> Exchange:
    """Return the exchange of the `gcp` provider."""
    return GcpExchange(world)
