"""One call to AWS, on keys we name and nothing else: no environment, no `~/.aws`, no metadata server.

The only module that imports botocore. Each call makes its own session and client, so nothing outlives a
change of credentials; the models are read once. It blocks: run it in a thread. It never retries.
"""

import base64
import os
from contextlib import closing
from dataclasses import dataclass
from threading import Lock
from typing import Any, Final

import botocore.session
from botocore import UNSIGNED
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
from vreg_shared.provider import retry_after_of
from vreg_shared.providers.aws.hosts import Place
from vreg_shared.refusals import Refusal
from vreg_shared.secret import Secret
from vreg_token_broker.answers import CloudRefusedError, NoAnswerError, date_of
from vreg_token_broker.exchange import Unavailable
from vreg_token_broker.exchanges.aws.rungs import AwsKeys, Budget

CONNECT_SECONDS: Final = 3.0
READ_SECONDS: Final = 10.0
_DETAIL_LIMIT: Final = 500
_NOBODY: Final = AwsKeys("nobody", Secret("nothing"))


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


class AwsClient:
    """Calls a service in the region and partition of a registry's host, at endpoints botocore computes."""

    def __init__(self, route: Route) -> None:
        self._route = route
        # Without ~/.aws/models and AWS_DATA_PATH, which could redefine where a service lives.
        self._models = Loader([Loader.BUILTIN_DATA_PATH], include_default_search_paths=False)
        self._making = Lock()
        self._endpoints: dict[tuple[str, str, bool], str] = {}

    def call(
        self, step: str, place: Place, keys: AwsKeys | None, arguments: dict[str, Any], budget: Budget
    ) -> Any:  # noqa: ANN401 - botocore has no types
        """Make the call IAM calls `step`, unsigned without keys; raise CloudRefusedError or NoAnswerError."""
        service, _, operation = step.partition(":")
        try:
            with closing(self._client(service, place, keys, budget.left(step))) as client:
                return client._make_api_call(operation, arguments)  # noqa: SLF001 - what its own methods call
        except ClientError as error:
            raise CloudRefusedError(_refusal(step, error.response)) from None
        except (ParamValidationError, NoRegionError) as error:
            raise CloudRefusedError(Refusal(step, "ValidationError", _text(error), 400)) from None
        except (BotoCoreError, OSError, ValueError) as error:
            outcome = Unavailable(_transport_reason(error), f"{step}: {_text(error)}")
            raise NoAnswerError(outcome) from None

    def endpoint(self, service: str, place: Place) -> str:
        """Return the URL a service is called at for a registry's host.

        It is taken from botocore's table of endpoints: its rules name `api.ecr-fips.…`, which AWS's own list
        of endpoints does not have.
        """
        known = (service, place.region, place.fips)
        if known not in self._endpoints:
            with closing(self._made(service, place, _NOBODY, Config(use_fips_endpoint=place.fips))) as client:
                self._endpoints[known] = str(client.meta.endpoint_url)
        return self._endpoints[known]

    def _client(self, service: str, place: Place, keys: AwsKeys | None, seconds: float) -> Any:  # noqa: ANN401 - botocore has no types
        endpoint = self.endpoint(service, place)
        config = Config(
            connect_timeout=min(CONNECT_SECONDS, seconds),
            read_timeout=min(READ_SECONDS, seconds),
            retries={"total_max_attempts": 1, "mode": "standard"},
            proxies=self._route.proxies(endpoint),
            max_pool_connections=1,
            user_agent_extra="vreg",
        )
        if keys is None:
            config = config.merge(Config(signature_version=UNSIGNED))
        return self._made(service, place, keys or _NOBODY, config, endpoint)

    def _made(
        self, service: str, place: Place, keys: AwsKeys, config: Config, endpoint: str | None = None
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


def request_id_of(response: dict[str, Any]) -> str:
    """Return AWS's own name for the call."""
    return str(response.get("ResponseMetadata", {}).get("RequestId", ""))


def response_headers(response: dict[str, Any]) -> dict[str, str]:
    """Return the answer's headers, as botocore gives them: by their names in lower case."""
    found: dict[str, str] = response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return found


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


def _refusal(step: str, response: dict[str, Any]) -> Refusal:
    error, metadata = response.get("Error", {}), response.get("ResponseMetadata", {})
    headers = response_headers(response)
    return Refusal(
        step,
        str(error.get("Code", "")),
        str(error.get("Message", "")),
        int(metadata.get("HTTPStatusCode", 0)),
        request_id_of(response),
        date_of(headers),
        retry_after_of(headers),
    )


def _transport_reason(error: Exception) -> str:
    if isinstance(error, (ConnectTimeoutError, ReadTimeoutError, TimeoutError)):
        return "timeout"
    if isinstance(error, SSLError) and "EOF occurred" not in str(error):
        return "tls_failed"  # the other kind is a connection that was cut
    if isinstance(error, (HTTPClientError, OSError)):
        return "connection_failed"
    return "unexpected_answer"


def _text(error: Exception) -> str:
    return str(error)[:_DETAIL_LIMIT]
