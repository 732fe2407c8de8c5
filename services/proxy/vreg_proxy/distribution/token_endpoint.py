"""`GET /v2/token`: the Docker token flow, from an access token to a short one for some repositories.

Source: https://distribution.github.io/distribution/spec/auth/token/
"""

from collections.abc import Iterable
from datetime import UTC
from typing import Final
from urllib.parse import parse_qsl

from vreg_proxy.config_cache import Snapshot
from vreg_proxy.distribution.authentication import Anonymous, Client, Known, Rejected, may_pull
from vreg_proxy.distribution.permission import Gate
from vreg_proxy.distribution.replies import Problem, Reply, json_reply
from vreg_proxy.distribution.tokens import LIFE_SECONDS, TokenMint
from vreg_shared.clock import Clock
from vreg_shared.oci.errors import OciError
from vreg_shared.oci.reference import InvalidNameError, RepositoryName

MAX_QUERY_BYTES: Final = 8 * 1024
MAX_SCOPES: Final = 32
_NO_STORE: Final = (b"cache-control", b"no-store")


class TokenEndpoint:
    """Gives what the client may have of what it asks for; less is no error, as the flow wants it."""

    def __init__(self, mint: TokenMint, gate: Gate, clock: Clock) -> None:
        self._mint = mint
        self._gate = gate
        self._clock = clock

    def answer(self, client: Client, query: bytes, snapshot: Snapshot) -> Reply | Problem:
        """Return a token, or a 401 for a credential that is not good and for strangers without any right."""
        if isinstance(client, Rejected):
            return self._gate.challenge(None, "invalid_token")
        if client.grant is not None:
            return self._gate.challenge(None)
        try:
            wanted = requested_repositories(query)
        except ValueError:
            return Problem(OciError.NAME_INVALID, message="the query of the token request is malformed")
        granted = frozenset(name for name in wanted if _may_pull(client, name, snapshot))
        if isinstance(client, Anonymous) and not granted:
            return self._gate.challenge(None)
        now = self._clock.now()
        token = self._mint.issue(client.access.id if isinstance(client, Known) else None, granted, now)
        issued_at = now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        text = token.reveal()
        return json_reply(
            200,
            {"token": text, "access_token": text, "expires_in": LIFE_SECONDS, "issued_at": issued_at},
            [_NO_STORE],
        )


def requested_repositories(query: bytes) -> Iterable[str]:
    """Return the names a query asks to pull; raise ValueError when it is too long or no query.

    Scopes stand in several parameters or in one, separated by spaces; those we do not know are left out.
    """
    if len(query) > MAX_QUERY_BYTES:
        raise ValueError("the query is too long")
    pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, max_num_fields=MAX_SCOPES)
    scopes = [scope for name, value in pairs if name == "scope" for scope in value.split(" ") if scope]
    return tuple(name for scope in scopes[:MAX_SCOPES] if (name := _pulled(scope)) is not None)


def _pulled(scope: str) -> str | None:
    kind, _, rest = scope.partition(":")
    name, _, actions = rest.rpartition(":")
    if kind != "repository" or "pull" not in actions.split(","):
        return None
    try:
        return RepositoryName.parse(name).value
    except InvalidNameError:
        return None


def _may_pull(client: Client, name: str, snapshot: Snapshot) -> bool:
    slug, _, repository = name.partition("/")
    registry = snapshot.registries.get(slug)
    if registry is None or not repository:
        return False
    return registry.anonymous_pull or (isinstance(client, Known) and may_pull(client.access, registry))
