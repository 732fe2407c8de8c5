"""AWS: a user's key, or a role assumed with it, becomes an ECR authorization token."""

from vreg_token_broker.exchange import Exchange, ExchangeWorld
from vreg_token_broker.exchanges.aws.calls import AwsCalls, Route
from vreg_token_broker.exchanges.aws.ladder import AwsExchange


def exchange(world: ExchangeWorld) -> Exchange:
    """Return the exchange of the `aws` provider."""
    return AwsExchange(AwsCalls(Route(world.egress, world.trust_file)), world.clock, world.threads)
