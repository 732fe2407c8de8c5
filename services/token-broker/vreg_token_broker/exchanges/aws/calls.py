"""The four calls of the climb, off the event loop: two that give a role's session, two that give a token."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

from vreg_shared.providers.aws.hosts import Place
from vreg_shared.providers.aws.refusals import ASSUME_ROLE, ECR_LOGIN, ECR_PUBLIC_LOGIN, WEB_IDENTITY
from vreg_shared.secret import Secret
from vreg_token_broker.answers import date_of, strange
from vreg_token_broker.exchanges.aws.client import AwsClient, request_id_of, response_headers
from vreg_token_broker.exchanges.aws.rungs import (
    AuthorizationToken,
    AwsKeys,
    Budget,
    RoleRequest,
    Session,
)


class AwsCalls:
    """Each call runs in one of `threads` threads of its own, so a silent AWS cannot stall the event loop.

    All raise CloudRefusedError or NoAnswerError.
    """

    def __init__(self, client: AwsClient, threads: int) -> None:
        self._client = client
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="aws-exchange")

    async def assume_role(self, place: Place, keys: AwsKeys, request: RoleRequest, budget: Budget) -> Session:
        """Ask STS for a role's session with a session or a key."""
        arguments = {**_role(request), "ExternalId": request.external_id}
        answer = await self._ask(ASSUME_ROLE, place, keys, arguments, budget)
        return _session(ASSUME_ROLE, answer, request)

    async def assume_role_with_web_identity(
        self, place: Place, identity_token: Secret, request: RoleRequest, budget: Budget
    ) -> Session:
        """Ask STS for a role's session with a signed token; nothing else signs the call."""
        arguments = {**_role(request), "WebIdentityToken": identity_token.reveal()}
        answer = await self._ask(WEB_IDENTITY, place, None, arguments, budget)
        return _session(WEB_IDENTITY, answer, request)

    async def authorization_token(self, place: Place, keys: AwsKeys, budget: Budget) -> AuthorizationToken:
        """Ask the region's ECR for a registry credential."""
        answer = await self._ask(ECR_LOGIN, place, keys, {}, budget)
        try:
            return _token(answer, answer["authorizationData"][0])
        except (KeyError, IndexError, TypeError) as error:
            raise strange(ECR_LOGIN, "the answer holds no token") from error

    async def public_authorization_token(
        self, place: Place, keys: AwsKeys, budget: Budget
    ) -> AuthorizationToken:
        """Ask ECR Public for a registry credential; it gives an object where ECR gives a list."""
        answer = await self._ask(ECR_PUBLIC_LOGIN, place, keys, {}, budget)
        try:
            return _token(answer, answer["authorizationData"])
        except (KeyError, TypeError) as error:
            raise strange(ECR_PUBLIC_LOGIN, "the answer holds no token") from error

    async def _ask(
        self, step: str, place: Place, keys: AwsKeys | None, arguments: dict[str, Any], budget: Budget
    ) -> Any:  # noqa: ANN401 - botocore has no types
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            self._threads, self._client.call, step, place, keys, arguments, budget
        )


def _role(request: RoleRequest) -> dict[str, Any]:
    asked = {
        "RoleArn": request.role_arn,
        "RoleSessionName": request.session_name,
        "DurationSeconds": request.duration_seconds,
    }
    return asked if request.policy is None else {**asked, "Policy": request.policy}


def _session(step: str, answer: dict[str, Any], request: RoleRequest) -> Session:
    try:
        given = answer["Credentials"]
        keys = AwsKeys(given["AccessKeyId"], Secret(given["SecretAccessKey"]), Secret(given["SessionToken"]))
    except (KeyError, TypeError) as error:
        raise strange(step, "the answer holds no credentials") from error
    principal = answer.get("AssumedRoleUser", {}).get("Arn", request.role_arn)
    return Session(keys, principal, (request_id_of(answer),))


def _token(answer: dict[str, Any], given: dict[str, Any]) -> AuthorizationToken:
    expires_at = given.get("expiresAt")
    return AuthorizationToken(
        Secret(given["authorizationToken"]),
        expires_at.astimezone(UTC) if isinstance(expires_at, datetime) else None,
        date_of(response_headers(answer)),
        request_id_of(answer),
    )
