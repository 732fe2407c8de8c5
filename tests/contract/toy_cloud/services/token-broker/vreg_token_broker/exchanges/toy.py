"""Toy Cloud: a key becomes a bearer token, in one call."""

import asyncio
import json
import ssl
from datetime import timedelta
from http import HTTPStatus
from typing import Final

import aiohttp
from vreg_shared.providers.toy import PROVIDER, ToyKey
from yarl import URL

from vreg_shared.egress import EgressScope, open_session
from vreg_shared.errors import VregError
from vreg_shared.lease import RegistryCredential
from vreg_shared.refusals import Refusal
from vreg_shared.secret import Secret
from vreg_token_broker.exchange import (
    Exchange,
    ExchangeOrder,
    ExchangeWorld,
    Issued,
    Outcome,
    Refused,
    Unavailable,
    outcome_of,
)

_HOST: Final = "iam.toy.example.test"
_ENDPOINT: Final = URL(f"https://{_HOST}/token")
_SECONDS: Final = 10.0
_LIMIT: Final = 64 * 1024


class ToyExchange:
    """Asks Toy Cloud's IAM, once."""

    def __init__(self, world: ExchangeWorld) -> None:
        self._world = world

    async def lease_for(self, order: ExchangeOrder) -> Outcome:
        """Return a token, or why there is none."""
        method = order.method
        if not isinstance(method, ToyKey):
            return Refused("method_not_supported", remedy="Choose a Toy key.", is_final=True)
        try:
            async with asyncio.timeout(_SECONDS):
                status, retry_after, body = await self._ask(method)
        except TimeoutError:
            return Unavailable("timeout", f"{_HOST} did not answer in time")
        except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientSSLError, ssl.SSLError) as error:
            return Unavailable("tls_failed", type(error).__name__)
        except (aiohttp.ClientError, OSError, VregError) as error:  # the gate's errors are vreg's own
            return Unavailable("connection_failed", type(error).__name__)
        return self._judged(order, method, status, retry_after, body)

    async def _ask(self, method: ToyKey) -> tuple[int, float | None, bytes]:
        policy = self._world.egress.scoped(EgressScope(names=(_HOST,)))
        form = {"account": method.account, "key": method.key.reveal()}
        async with (
            open_session(policy) as session,
            session.post(_ENDPOINT, data=form, allow_redirects=False) as answer,
        ):
            wait = answer.headers.get("Retry-After", "")
            body = await answer.content.read(_LIMIT)
            return answer.status, float(wait) if wait.isdecimal() else None, body

    def _judged(
        self, order: ExchangeOrder, method: ToyKey, status: int, retry_after: float | None, body: bytes
    ) -> Outcome:
        now = self._world.clock.now()
        if status != HTTPStatus.OK:
            refusal = Refusal("toy:Token", str(status), "", status, retry_after=retry_after)
            return outcome_of(PROVIDER.refusals, refusal, now)
        try:
            answer = json.loads(body)
            token, seconds = Secret(str(answer["token"])), float(answer["expires_in"])
        except (ValueError, KeyError, TypeError):
            return Unavailable("unexpected_answer", "toy:Token: the answer holds no token")
        credential = RegistryCredential("", token, order.kind.presentation)
        return Issued(credential, now, now + timedelta(seconds=seconds), method.account)


def exchange(world: ExchangeWorld) -> Exchange:
    """Return the exchange of the `toy` provider."""
    return ToyExchange(world)
