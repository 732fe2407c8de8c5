"""The climb: key, or key to role session, to ECR token; judged at each rung, and a session tried twice."""

import asyncio
import base64
import binascii
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Final, Protocol

from vreg_shared.clock import Clock
from vreg_shared.lease import RegistryCredential
from vreg_shared.provider import InvalidHostError
from vreg_shared.providers.aws.auth_methods import AccessKey, AssumeRole
from vreg_shared.providers.aws.hosts import EcrHost
from vreg_shared.secret import Secret
from vreg_token_broker.exchange import ExchangeOrder, Issued, Outcome, Refused, Unavailable
from vreg_token_broker.exchanges.aws.calls import (
    AuthorizationToken,
    AwsKeys,
    AwsRefusedError,
    AwsUnavailableError,
    RoleRequest,
    RoleSession,
)
from vreg_token_broker.exchanges.aws.refusals import EXPIRED, judge

NOMINAL_LIFE: Final = timedelta(hours=12)
UNKNOWN_LIFE: Final = timedelta(seconds=60)
"""For an answer without an end: OAuth's default, since a guess too long is a pull that fails."""
_SESSION_NAME_LIMIT: Final = 64


class Calls(Protocol):
    """AWS, as far as it is needed. The calls block."""

    def assume_role(self, place: EcrHost, keys: AwsKeys, request: RoleRequest) -> RoleSession:
        """Ask STS; raise AwsRefusedError or AwsUnavailableError."""
        ...

    def authorization_token(self, place: EcrHost, keys: AwsKeys) -> AuthorizationToken:
        """Ask ECR; raise AwsRefusedError or AwsUnavailableError."""
        ...


class AwsExchange:
    """Climbs in one of `threads` threads of its own, so a silent AWS cannot stall the event loop."""

    def __init__(self, calls: Calls, clock: Clock, threads: int) -> None:
        self._calls = calls
        self._clock = clock
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="aws-exchange")

    async def lease_for(self, order: ExchangeOrder) -> Outcome:
        """Return a credential for every registry the principal may read in the host's region, or why not."""
        try:
            place = EcrHost.parse(order.host)
        except InvalidHostError as error:
            return Refused("host_invalid", str(error), "Use the registry's own host name.", is_final=True)
        if isinstance(order.method, AssumeRole) and _partition(order.method) != place.partition.name:
            return Refused(
                "partition_mismatch",
                f"role of {_partition(order.method)}, registry of {place.partition.name}",
                "Use a role of the registry's own partition.",
                is_final=True,
            )
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._climb, order, place)

    def _climb(self, order: ExchangeOrder, place: EcrHost) -> Outcome:
        try:
            if isinstance(order.method, AccessKey):
                keys = _keys(order.method)
                return self._issued(
                    order, self._calls.authorization_token(place, keys), keys.access_key_id, ()
                )
            if isinstance(order.method, AssumeRole):
                return self._climb_by_role(order, order.method, place)
        except AwsRefusedError as error:
            return judge(error.refusal, self._clock.now())
        except AwsUnavailableError as error:
            return error.outcome
        return Refused(
            "method_not_supported",
            remedy="Choose one of AWS's auth methods for this identity.",
            is_final=True,
        )

    def _climb_by_role(self, order: ExchangeOrder, method: AssumeRole, place: EcrHost) -> Outcome:
        session = self._assume(order, method, place)
        try:
            token = self._calls.authorization_token(place, session.keys)
        except AwsRefusedError as error:
            if error.refusal.code not in EXPIRED:
                raise
            # A session that ended on the way: the key below it is as good as it was, so once more.
            session = self._assume(order, method, place)
            token = self._calls.authorization_token(place, session.keys)
        return self._issued(order, token, session.principal, (session.request_id,))

    def _assume(self, order: ExchangeOrder, method: AssumeRole, place: EcrHost) -> RoleSession:
        name = method.session_name or session_name(order.identity_id)
        request = RoleRequest(method.role_arn, name, order.external_id, method.duration_seconds)
        return self._calls.assume_role(place, _keys(method), request)

    def _issued(
        self, order: ExchangeOrder, token: AuthorizationToken, principal: str, requests: tuple[str, ...]
    ) -> Outcome:
        ids = tuple(each for each in (*requests, token.request_id) if each)
        try:
            username, _, password = (
                base64.b64decode(token.token.reveal(), validate=True).decode().partition(":")
            )
        except (binascii.Error, ValueError):
            username, password = "", ""
        if not (username and password):
            return Unavailable("unexpected_answer", "the authorization token is not base64 of user:password")
        issued_at, not_after = lifetime(token, self._clock.now())
        if not_after <= issued_at:
            return Unavailable(
                "clock_skew", f"the token had ended at {not_after.isoformat()} when it came", request_ids=ids
            )
        credential = RegistryCredential(username, Secret(password), order.kind.presentation)
        return Issued(credential, issued_at, not_after, principal, ids)


def lifetime(token: AuthorizationToken, now: datetime) -> tuple[datetime, datetime]:
    """Return (issued_at, not_after): the shorter of what AWS's clock and ours say, at most nominal."""
    issued_at = now if token.date is None else max(now, token.date)
    not_after = token.expires_at if token.expires_at is not None else issued_at + UNKNOWN_LIFE
    return issued_at, min(not_after, issued_at + NOMINAL_LIFE)


def session_name(identity_id: str) -> str:
    """Return the name a role session goes by in CloudTrail: it says which identity acted."""
    return re.sub(r"[^\w+=,.@-]", "-", f"vreg-{identity_id}", flags=re.ASCII)[:_SESSION_NAME_LIMIT]


def _keys(method: AccessKey | AssumeRole) -> AwsKeys:
    return AwsKeys(method.access_key_id, method.secret_access_key, method.session_token)


def _partition(method: AssumeRole) -> str:
    return method.role_arn.split(":")[1]
