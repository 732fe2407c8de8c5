"""The two calls to AWS, on keys we name and nothing else: no environment, no `~/.aws`, no metadata server.

The only module that imports botocore. Each call makes its own session and client, so nothing outlives a
change of credentials; the models are read once. It blocks: run it in a thread. It never retries.
"""

import base64
import os
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from threading import Lock
from typing import Any, Final

import botocore.session
from botocore.config import Config
from botocore.configprovider import (
    BOTOCORE_DEFAUT_SESSION_VARIABLES,
    ChainProvider,
    ConfigValueStore,
    ConstantProvider,
)
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    HTTPClientError,
    NoRegionError,
    ParamValidationError,
    ReadTimeoutError,
    SSLError,
)
from botocore.loaders import Loader
from yarl import URL

from vreg_shared.egress import Destination, EgressPolicy
from vreg_shared.errors import VregError
from vreg_shared.providers.aws.hosts import EcrHost
from vreg_shared.secret import Secret
from vreg_token_broker.exchange import Unavailable
from vreg_token_broker.exchanges.aws.refusals import AwsRefusal

CONNECT_SECONDS: Final = 3
READ_SECONDS: Final = 10
_DETAIL_LIMIT: Final = 500


class AwsRefusedError(VregError):
    """AWS answered with an error; `refusal` says which."""

    def __init__(self, refusal: AwsRefusal) -> None:
        super().__init__(f"{refusal.operation}: {refusal.code}")
        self.refusal = refusal


class AwsUnavailableError(VregError):
    """AWS did not answer, or not in its own language; `outcome` says how."""

    def __init__(self, outcome: Unavailable) -> None:
        super().__init__(outcome.reason)
        self.outcome = outcome


@dataclass(frozen=True, slots=True)
class AwsKeys:
    """What a request is signed with."""

    access_key_id: str
    secret_access_key: Secret
    session_token: Secret | None = None


_NOBODY: Final = AwsKeys("nobody", Secret("nothing"))


@dataclass(frozen=True, slots=True)
class RoleRequest:
    """What AssumeRole is asked."""

    role_arn: str
    session_name: str
    external_id: str
    duration_seconds: int


@dataclass(frozen=True, slots=True)
class RoleSession:
    """What AssumeRole gives: keys, and who they belong to."""

    keys: AwsKeys
    principal: str
    request_id: str


@dataclass(frozen=True, slots=True)
class AuthorizationToken:
    """What ECR gives, as it came: base64 of `user:password`; `date` is the answer's own."""

    token: Secret
    expires_at: datetime | None
    date: datetime | None
    request_id: str


@dataclass(frozen=True, slots=True)
class Route:
    """How AWS is reached: the operator's proxy and certificate authorities, and no other's."""

    egress: EgressPolicy
    trust_file: str | None = None

    def proxies(self, endpoint: str) -> dict[str, str]:
        """Return botocore's setting for an endpoint; empty means directly, whatever the environment says."""
        proxy = self.egress.proxy
        if proxy is None or not self.egress.carried(Destination.of(URL(endpoint))):
            return {}
        if proxy.authorization is None:
            return {"https": str(proxy.url)}
        pair = base64.b64decode(proxy.authorization.reveal().removeprefix("Basic ")).decode()
        user, _, password = pair.partition(":")
        return {"https": str(proxy.url.with_user(user).with_password(password))}


class AwsCalls:
    """Calls STS and ECR in the region and partition of a registry's host, at endpoints botocore computes."""

    def __init__(self, route: Route) -> None:
        self._route = route
        # Without ~/.aws/models and AWS_DATA_PATH, which could redefine where a service lives.
        self._models = Loader([Loader.BUILTIN_DATA_PATH], include_default_search_paths=False)
        self._making = Lock()
        self._endpoints: dict[tuple[str, str, bool], str] = {}

    def assume_role(self, place: EcrHost, keys: AwsKeys, request: RoleRequest) -> RoleSession:
        """Ask STS for a role session; raise AwsRefusedError or AwsUnavailableError."""
        answer = self._call(
            "sts",
            "sts:AssumeRole",
            place,
            keys,
            {
                "RoleArn": request.role_arn,
                "RoleSessionName": request.session_name,
                "ExternalId": request.external_id,
                "DurationSeconds": request.duration_seconds,
            },
        )
        try:
            given = answer["Credentials"]
            session = AwsKeys(
                given["AccessKeyId"], Secret(given["SecretAccessKey"]), Secret(given["SessionToken"])
            )
        except (KeyError, TypeError) as error:
            raise _strange("sts:AssumeRole", "the answer holds no credentials") from error
        principal = answer.get("AssumedRoleUser", {}).get("Arn", request.role_arn)
        return RoleSession(session, principal, _request_id(answer))

    def authorization_token(self, place: EcrHost, keys: AwsKeys) -> AuthorizationToken:
        """Ask ECR for a registry credential; raise AwsRefusedError or AwsUnavailableError."""
        operation = "ecr:GetAuthorizationToken"
        answer = self._call("ecr", operation, place, keys, {})
        try:
            given = answer["authorizationData"][0]
            token = Secret(given["authorizationToken"])
        except (KeyError, IndexError, TypeError) as error:
            raise _strange(operation, "the answer holds no token") from error
        expires_at = given.get("expiresAt")
        return AuthorizationToken(
            token,
            expires_at.astimezone(UTC) if isinstance(expires_at, datetime) else None,
            _date(answer),
            _request_id(answer),
        )

    def endpoint(self, service: str, place: EcrHost) -> str:
        """Return the URL a service is called at for a registry's host.

        It is taken from botocore's table of endpoints: its rules name `api.ecr-fips.…`, which AWS's own list
        of endpoints does not have.
        """
        known = (service, place.region, place.fips)
        if known not in self._endpoints:
            with closing(self._made(service, place, _NOBODY, Config(use_fips_endpoint=place.fips))) as client:
                self._endpoints[known] = str(client.meta.endpoint_url)
        return self._endpoints[known]

    def _call(
        self, service: str, operation: str, place: EcrHost, keys: AwsKeys, arguments: dict[str, Any]
    ) -> Any:  # noqa: ANN401 - botocore has no types
        try:
            with closing(self._client(service, place, keys)) as client:
                return client._make_api_call(  # noqa: SLF001 - what its generated methods call
                    operation.partition(":")[2], arguments
                )
        except ClientError as error:
            raise AwsRefusedError(_refusal(operation, error.response)) from None
        except (ParamValidationError, NoRegionError) as error:
            refusal = AwsRefusal(operation, "ValidationError", _text(error), 400)
            raise AwsRefusedError(refusal) from None
        except (BotoCoreError, OSError, ValueError) as error:
            raise AwsUnavailableError(
                Unavailable(_transport_reason(error), f"{operation}: {_text(error)}")
            ) from None

    def _client(self, service: str, place: EcrHost, keys: AwsKeys) -> Any:  # noqa: ANN401 - botocore has no types
        endpoint = self.endpoint(service, place)
        config = Config(
            connect_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            retries={"total_max_attempts": 1, "mode": "standard"},
            proxies=self._route.proxies(endpoint),
            max_pool_connections=1,
            user_agent_extra="vreg",
        )
        return self._made(service, place, keys, config, endpoint)

    def _made(
        self, service: str, place: EcrHost, keys: AwsKeys, config: Config, endpoint: str | None = None
    ) -> Any:  # noqa: ANN401 - botocore has no types
        with self._making:  # making sessions and clients is not thread-safe
            return _isolated_session(self._models).create_client(
                service,
                region_name=place.region,
                endpoint_url=endpoint,
                config=config.merge(Config(ignore_configured_endpoint_urls=True)),
                verify=self._route.trust_file or True,
                aws_access_key_id=keys.access_key_id,
                aws_secret_access_key=keys.secret_access_key.reveal(),
                aws_session_token=keys.session_token.reveal() if keys.session_token is not None else None,
            )


def _isolated_session(models: Loader) -> Any:  # noqa: ANN401 - botocore has no types
    """Make a session that knows botocore's defaults and reads neither environment nor files."""
    session = botocore.session.Session()
    session.register_component("config_store", ConfigValueStore(_constant_settings()))
    session.register_component("data_loader", models)
    return session


def _constant_settings() -> dict[str, ChainProvider]:
    own = {"config_file": os.devnull, "credentials_file": os.devnull}
    return {
        name: ChainProvider(
            [] if default is None else [ConstantProvider(own.get(name, default))], conversion_func=convert
        )
        for name, (_, _, default, convert) in BOTOCORE_DEFAUT_SESSION_VARIABLES.items()
    }


def _refusal(operation: str, response: dict[str, Any]) -> AwsRefusal:
    error, metadata = response.get("Error", {}), response.get("ResponseMetadata", {})
    return AwsRefusal(
        operation,
        str(error.get("Code", "")),
        str(error.get("Message", "")),
        int(metadata.get("HTTPStatusCode", 0)),
        _request_id(response),
        _date(response),
    )


def _request_id(response: dict[str, Any]) -> str:
    return str(response.get("ResponseMetadata", {}).get("RequestId", ""))


def _date(response: dict[str, Any]) -> datetime | None:
    headers = response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    try:
        return parsedate_to_datetime(headers["date"]).astimezone(UTC)
    except (KeyError, TypeError, ValueError):
        return None


def _transport_reason(error: Exception) -> str:
    if isinstance(error, (ConnectTimeoutError, ReadTimeoutError, TimeoutError)):
        return "timeout"
    if isinstance(error, SSLError) and "EOF occurred" not in str(error):
        return "tls_failed"  # the other kind is a connection that was cut
    if isinstance(error, (HTTPClientError, OSError)):
        return "connection_failed"
    return "unexpected_answer"


def _strange(operation: str, what: str) -> AwsUnavailableError:
    return AwsUnavailableError(Unavailable("unexpected_answer", f"{operation}: {what}"))


def _text(error: Exception) -> str:
    return str(error)[:_DETAIL_LIMIT]
