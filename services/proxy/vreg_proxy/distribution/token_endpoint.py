"""`GET /v2/token`: the Docker token flow, from an access token to a short one for some repositories.

Source: https://distribution.github.io/distribution/spec/auth/token/
"""

from dataclasses import dataclass
from datetime import UTC
from typing import Final
from urllib.parse import parse_qsl

from vreg_proxy.config_cache import Snapshot
from vreg_proxy.distribution.authentication import Anonymous, Client, Known, Rejected, may_pull
from vreg_proxy.distribution.mirrors import Mirrors
from vreg_proxy.distribution.permission import CATALOG_SCOPE, Gate, browsable
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

    def __init__(self, mint: TokenMint, gate: Gate, mirrors: Mirrors, clock: Clock) -> None:
        self._mint = mint
        self._gate = gate
        self._mirrors = mirrors
        self._clock = clock

    def answer(self, client: Client, query: bytes, snapshot: Snapshot) -> Reply | Problem:
        """Return a token, or a 401 for a credential that is not good and for strangers without any right."""
        if isinstance(client, Rejected):
            return self._gate.challenge(None, "invalid_token")
        if client.grant is not None:
            return self._gate.challenge(None)
        try:
            wanted = requested(query)
        except ValueError:
            return Problem(OciError.NAME_INVALID, message="the query of the token request is malformed")
        names = {self._mirrors.spelled(name, None, snapshot) for name in wanted.repositories}
        granted = frozenset(name for name in names if _may_pull(client, name, snapshot))
        catalog = wanted.catalog and bool(browsable(client, snapshot))
        if isinstance(client, Anonymous) and not granted and not catalog:
            return self._gate.challenge(None)
        now = self._clock.now()
        access_id = client.access.id if isinstance(client, Known) else None
        token = self._mint.issue(access_id, granted, now, catalog=catalog)
        issued_at = now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        text = token.reveal()
        return json_reply(
            200,
            {"token": text, "access_token": text, "expires_in": LIFE_SECONDS, "issued_at": issued_at},
            [_NO_STORE],
        )


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a token is asked for: names to pull from, and whether to list repositories."""

    repositories: tuple[str, ...]
    catalog: bool


def requested(query: bytes) -> Wanted:
    """Return what a query asks for; raise ValueError when it is too long or no query.

    Scopes stand in several parameters or in one, separated by spaces; those we do not know are left out.
    """
    if len(query) > MAX_QUERY_BYTES:
        raise ValueError("the query is too long")
    pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, max_num_fields=MAX_SCOPES)
    scopes = [scope for name, value in pairs if name == "scope" for scope in value.split(" ") if scope]
    names = tuple(name for scope in scopes[:MAX_SCOPES] if (name := _pulled(scope)) is not None)
    return Wanted(names, CATALOG_SCOPE in scopes[:MAX_SCOPES])


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
