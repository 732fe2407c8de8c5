"""The real google-auth behind the gateway, as a test of the emulation."""

from collections.abc import Callable
from typing import Any

import google.auth.credentials
import requests
from google.auth import aws, exceptions, identity_pool, impersonated_credentials
from google.auth.transport.requests import Request
from google.oauth2 import service_account

from tests.clouds.clouds import Clouds
from tests.clouds.gcp.control import MadeServiceKey
from tests.clouds.gcp.tokens import READ_ONLY

JWT = "urn:ietf:params:oauth:token-type:jwt"
AWS_REQUEST = "urn:ietf:params:aws:token-type:aws4_request"
STS_URL = "https://sts.googleapis.com/v1/token"


class _Told(identity_pool.SubjectTokenSupplier):
    def __init__(self, token: str) -> None:
        self._token = token

    def get_subject_token(self, context: Any, request: Any) -> str:  # noqa: ANN401 -- google-auth has no types
        del context, request
        return self._token


class _ToldAws(aws.AwsSecurityCredentialsSupplier):
    def __init__(self, keys: aws.AwsSecurityCredentials, region: str) -> None:
        self._keys = keys
        self._region = region

    def get_aws_security_credentials(self, context: Any, request: Any) -> aws.AwsSecurityCredentials:  # noqa: ANN401 -- the same
        del context, request
        return self._keys

    def get_aws_region(self, context: Any, request: Any) -> str:  # noqa: ANN401 -- the same
        del context, request
        return self._region


class Sdk:
    """Gets tokens as Google's own library does. Blocking, and it retries."""

    def __init__(self, clouds: Clouds) -> None:
        session = requests.Session()
        session.trust_env = False
        session.proxies = {"https": clouds.gateway_url}
        session.verify = str(clouds.ca_bundle)
        self._session = session

    def close(self) -> None:
        """Leave no connection open."""
        self._session.close()

    def token(self, credentials: google.auth.credentials.Credentials) -> str:
        """Return an access token; raise what google-auth raises."""
        credentials.refresh(Request(self._session))
        token: str = credentials.token
        return token

    def by_key(self, key: MadeServiceKey, *scopes: str) -> service_account.Credentials:
        """Return credentials of a key."""
        return service_account.Credentials.from_service_account_info(
            key.document(), scopes=scopes or (READ_ONLY,)
        )

    def by_token(self, provider: str, token: str, email: str | None = None) -> identity_pool.Credentials:
        """Return credentials of an identity token, which may act as a service account."""
        url = "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/{}:generateAccessToken"
        return identity_pool.Credentials(
            audience=provider,
            subject_token_type=JWT,
            token_url=STS_URL,
            subject_token_supplier=_Told(token),
            service_account_impersonation_url=url.format(email) if email is not None else None,
            scopes=[READ_ONLY],
        )

    def by_aws(self, provider: str, keys: aws.AwsSecurityCredentials, region: str) -> aws.Credentials:
        """Return credentials of an AWS key."""
        return aws.Credentials(
            audience=provider,
            subject_token_type=AWS_REQUEST,
            token_url=STS_URL,
            aws_security_credentials_supplier=_ToldAws(keys, region),
            scopes=[READ_ONLY],
        )

    def acting_as(
        self, base: google.auth.credentials.Credentials, email: str, *delegates: str, seconds: int = 3600
    ) -> impersonated_credentials.Credentials:
        """Return credentials of a service account, by way of others."""
        chain = [f"projects/-/serviceAccounts/{each}" for each in delegates]
        return impersonated_credentials.Credentials(base, email, [READ_ONLY], chain or None, lifetime=seconds)


def refused(call: Callable[..., object], *arguments: object) -> str:
    """Return what google-auth says of the refusal that a call ends in."""
    try:
        call(*arguments)
    except exceptions.GoogleAuthError as error:
        return str(error)
    raise AssertionError("the call was not refused")
