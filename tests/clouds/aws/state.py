"""What the emulated services share: the model, the clock, the tokens given out, and the switches."""

from dataclasses import dataclass, field

from tests.clouds.aws.model import AwsModel
from tests.clouds.aws.tokens import Tokens
from tests.clouds.clock import CloudClock
from tests.clouds.content import ContentStore

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
    session_seconds: float | None = None
    """Upper limit for a role session, below what AWS permits, so that tests need not wait 15 minutes."""
    storage_url_seconds: float = 1200.0
    """Life of the address that a blob is redirected to."""
    tokens_end_with_sessions: bool = False
    """Unknown of the real one: whether a registry token dies with the session that asked for it."""
    has_digest_on_head: bool = True
    """Unknown of the real one: whether HEAD of a manifest names its digest."""
