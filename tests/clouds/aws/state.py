"""What the emulated services share: the model, the clock, the tokens given out, and the switches."""

from dataclasses import dataclass, field

from tests.clouds.aws.model import AwsModel
from tests.clouds.aws.refusals import AwsRefusalError, Refused
from tests.clouds.aws.tokens import Tokens
from tests.clouds.clock import CloudClock
from tests.clouds.content import ContentStore
from tests.clouds.shelf import Shelf

TWELVE_HOURS = 12 * 3600.0


@dataclass
class AwsState:
    """Switches default to what the documentation says, or to what is usually assumed."""

    clock: CloudClock
    content: ContentStore
    model: AwsModel = field(default_factory=AwsModel)
    tokens: Tokens = field(default_factory=Tokens)
    token_seconds: float = TWELVE_HOURS
    """Life of a registry token."""
    machine_session_seconds: float = 6 * 3600.0
    """Life of the credentials that the platform hands to pods, tasks and instances."""
    packed_policy_limit: int = 2048
    """Characters of a session policy that can still be packed; the real rule is AWS's own."""
    rejected_issuers: set[str] = field(default_factory=set)
    """Issuers of which AWS rejects every claim."""
    session_seconds: float | None = None
    """Upper limit for a role session, below what AWS permits, so that tests need not wait 15 minutes."""
    storage_url_seconds: float = 1200.0
    """Life of the address that a blob is redirected to."""
    tokens_end_with_sessions: bool = False
    """Unknown of the real one: whether a registry token dies with the session that asked for it."""
    public_repositories: dict[str, Shelf] = field(default_factory=dict)
    """What is in ECR Public, by alias and name."""
    has_digest_on_head: bool = True
    """Unknown of the real one: whether HEAD of a manifest names its digest."""

    def require_region(self, account: str, region: str) -> None:
        """Refuse, as STS does, what an account has switched off."""
        if (account, region) in self.model.disabled_regions:
            raise AwsRefusalError(
                Refused.REGION,
                f"STS is not activated in this region for account:{account}. Your account administrator can "
                "activate STS in this region using the IAM Console.",
            )
