"""What a vreg may connect to whose only way out is the gateway of an emulated world."""

from tests.clouds.clouds import Clouds
from vreg_shared.egress import EgressPolicy
from vreg_shared.egress.proxy import EgressProxy
from vreg_shared.secret import Secret


def policy_through(world: Clouds) -> EgressPolicy:
    """Return the policy that the world's settings make, and that names of `example.test` are allowed in."""
    return EgressPolicy(
        allowed_names=("*.example.test",),
        proxy=EgressProxy.parse(Secret(world.gateway_url), "127.0.0.1,localhost"),
        ca_pem=world.ca_bundle.read_text(),
    )
