"""AWS: keys, a signed token or the machine's own role, and roles assumed from there, become an ECR token."""

from vreg_token_broker.exchange import Exchange, ExchangeWorld
from vreg_token_broker.exchanges.aws.calls import AwsCalls
from vreg_token_broker.exchanges.aws.client import AwsClient, Route
from vreg_token_broker.exchanges.aws.ladder import AwsExchange
from vreg_token_broker.exchanges.aws.machine import Machine
from vreg_token_broker.exchanges.aws.sessions import Sessions


def exchange(world: ExchangeWorld) -> Exchange:
    """Return the exchange of the `aws` provider."""
    calls = AwsCalls(AwsClient(Route(world.egress, world.trust_file)), world.threads)
    machine = Machine(world.environment, world.trust_file)
    return AwsExchange(Sessions(calls, machine, world.identity_tokens), calls, world.clock)
