"""User name and password: nothing to climb, the secret is the registry credential already."""

from vreg_shared.clock import Clock
from vreg_shared.lease import RegistryCredential
from vreg_shared.providers.basic.auth_methods import Password
from vreg_token_broker.exchange import Exchange, ExchangeOrder, ExchangeWorld, Issued, Outcome, Refused


class BasicExchange:
    """Hands the password on; it ends only when a person changes it, and no network is asked."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def lease_for(self, order: ExchangeOrder) -> Outcome:
        """Return the password as a credential, in the registry kind's presentation."""
        method = order.method
        if not isinstance(method, Password):
            return Refused(
                "method_not_supported",
                remedy="Choose a user name and password for this identity.",
                is_final=True,
            )
        credential = RegistryCredential(method.username, method.password, order.kind.presentation)
        return Issued(credential, self._clock.now(), None, principal=method.username)


def exchange(world: ExchangeWorld) -> Exchange:
    """Return the exchange of the `basic` provider."""
    return BasicExchange(world.clock)
