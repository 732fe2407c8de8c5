"""The registry's own exchange: a token of Microsoft Entra for a refresh token of this one registry.

Source: https://github.com/Azure/acr/blob/main/docs/AAD-OAuth.md. Not by azure-containerregistry, whose test
of freshness is inverted and whose reading of tokens fails on base64url.
"""

from dataclasses import dataclass
from datetime import datetime

from yarl import URL

from vreg_shared.egress import EgressPolicy, EgressScope, open_session
from vreg_shared.providers.azure.refusals import EXCHANGE
from vreg_shared.secret import Secret
from vreg_token_broker.exchanges.azure.answers import TIMEOUT, calling, read


@dataclass(frozen=True, slots=True)
class RefreshToken:
    """What the registry gave; `date` is the answer's own."""

    token: Secret
    date: datetime | None
    request_id: str


class RegistryExchange:
    """Asks a login server, which may be a private address, once."""

    def __init__(self, egress: EgressPolicy) -> None:
        self._egress = egress

    async def refresh_token(self, host: str, entra_token: Secret) -> RefreshToken:
        """Return a refresh token; raise CloudRefusedError or NoAnswerError."""
        url = URL(f"https://{host}/oauth2/exchange")
        policy = self._egress.scoped(EgressScope(names=(host,), may_be_private=True))
        form = {"grant_type": "access_token", "service": host, "access_token": entra_token.reveal()}
        async with (
            calling(EXCHANGE, url),
            open_session(policy, timeout=TIMEOUT) as session,
            session.post(url, data=form, allow_redirects=False) as response,
        ):
            answer = await read(response, EXCHANGE)
        return RefreshToken(answer.token(EXCHANGE, "refresh_token"), answer.date, answer.request_id)
