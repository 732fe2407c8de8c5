"""Azure: an identity of Microsoft Entra becomes a refresh token of one registry."""

from vreg_token_broker.exchange import Exchange, ExchangeWorld
from vreg_token_broker.exchanges.azure.entra import EntraTokens
from vreg_token_broker.exchanges.azure.ladder import AzureExchange
from vreg_token_broker.exchanges.azure.managed_identity import MachineTokens
from vreg_token_broker.exchanges.azure.registry import RegistryExchange


def exchange(world: ExchangeWorld) -> Exchange:
    """Return the exchange of the `azure` provider."""
    return AzureExchange(
        EntraTokens(world.egress),
        MachineTokens(world.environment),
        RegistryExchange(world.egress),
        world.identity_tokens,
        world.clock,
    )
