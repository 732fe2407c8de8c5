"""What the emulated services share: the model, the clock, the tokens given out, and the switches."""

from dataclasses import dataclass, field

from tests.clouds.clock import CloudClock
from tests.clouds.content import ContentStore
from tests.clouds.gcp.model import GcpModel
from tests.clouds.gcp.tokens import Principal, Token, Tokens

ONE_HOUR = 3600.0


@dataclass
class Machine:
    """What the metadata server says of the machine it belongs to."""

    email: str | None = None
    scopes: tuple[str, ...] = ()
    project: str = "a-project"
    refusal: tuple[int, str] | None = None
    """Status and words, as where GKE's metadata server may not act as the pod's service account."""


@dataclass
class GcpState:
    """Switches default to what is documented or reported, or else to what is usually assumed."""

    clock: CloudClock
    content: ContentStore
    model: GcpModel = field(default_factory=GcpModel)
    tokens: Tokens = field(default_factory=Tokens)
    machine: Machine = field(default_factory=Machine)
    token_seconds: float = ONE_HOUR
    """Life of an access token; what is asked for in an impersonation is at most this."""
    download_seconds: float = 1200.0
    """Life of the address that a blob is redirected to."""
    disabled_services: set[str] = field(default_factory=set)
    """Of the APIs that a project must enable, those that are not."""
    tokens_end_with_assertions: bool = False
    """Unknown of the real one: whether a federated token lives no longer than the identity token."""
    longest_assertion_seconds: int = 24 * 3600
    """Unknown of the real one: how long an identity token may live."""
    missing_is_hidden: bool = False
    """Unknown of the real one: whether a repository that is not there is hidden also from who may know."""
    anonymous_is_refused_at_token: bool = False
    """Whether `/v2/token` itself refuses nobody in particular; reported of the real one, at times."""
    has_ranges: bool = True
    """Unknown of the real one: whether the address a blob is redirected to serves ranges."""
    has_digest_on_manifests: bool = True
    """Unknown of the real one: whether manifests come with their digest."""
    has_referrers: bool = True
    """Reported both ways: whether there is a referrers API."""
    gcr_stores_apart: bool = False
    """Whether gcr.io redirects to storage.googleapis.com, as it did before Artifact Registry."""

    def issue(
        self,
        principal: Principal,
        scopes: frozenset[str],
        seconds: float | None = None,
        prefix: str = "ya29.",
    ) -> tuple[str, int]:
        """Return a new access token and how long it says to live, which is a second less."""
        life = self.token_seconds if seconds is None else min(seconds, self.token_seconds)
        token = Token(principal, scopes, self.clock.now() + life)
        return self.tokens.issue(token, prefix), max(0, int(life) - 1)
