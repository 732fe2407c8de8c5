"""What the emulated services share: the model, the clock, the keys, and the switches."""

from dataclasses import dataclass, field

from tests.clouds.azure.jwt import Signer
from tests.clouds.azure.model import AzureModel
from tests.clouds.clock import CloudClock
from tests.clouds.content import ContentStore
from tests.clouds.oidc import TokenVerifier

REGISTRY_AUDIENCE = "https://containerregistry.azure.net"


@dataclass
class AzureState:
    """Switches default to what the documentation says, or to what is usually assumed."""

    clock: CloudClock
    content: ContentStore
    verifier: TokenVerifier
    model: AzureModel = field(default_factory=AzureModel)
    entra_signer: Signer = field(default_factory=lambda: Signer("entra"))
    registry_signer: Signer = field(default_factory=lambda: Signer("registry"))
    entra_token_seconds: float = 3599.0
    refresh_token_seconds: float = 3 * 3600.0
    access_token_seconds: float = 3600.0
    storage_url_seconds: float = 1200.0
    propagation_seconds: float = 0.0
    """How long a new federated credential is not seen yet."""
    odd: dict[str, str] = field(default_factory=dict)
    """What a service says next, with status 200, whatever it is asked; by its name."""
    given: set[str] = field(default_factory=set)
    """Ids of the registry tokens given out."""
    dead: set[str] = field(default_factory=set)
    """Ids of those that were ended by hand."""
    knows_audience: bool = True
    """Whether tenants know the registry service's audience."""
    names_federation_mismatch: bool = True
    """Whether Entra says which of issuer, subject and audience differs; else all are AADSTS70021."""
    refuses_at_exchange: bool = True
    """Unknown of the real one: whether a missing role shows at the exchange, or at the token endpoint."""
    reduces_access: bool = True
    """Unknown of the real one: whether a token for too much grants less, or is refused with 401."""
    snapshots_permissions: bool = True
    """Unknown of the real one: whether a refresh token keeps what its owner might do when it was issued."""
    tags_need_metadata: bool = True
    """Whether tags/list wants `metadata_read`, as the registry's challenge has it."""
