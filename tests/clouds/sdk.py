"""The real boto3 behind the gateway, as a test of the emulation and a way to come by tokens."""

from collections.abc import Callable
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.clouds.aws.control import MadeKey
from tests.clouds.clouds import Clouds
from tests.clouds.scene import EXTERNAL_ID, REGION, Scene


class Sdk:
    """Calls as one key, without retries. Blocking: call it off the loop or not under load."""

    def __init__(self, clouds: Clouds, key: MadeKey, region: str = REGION) -> None:
        self._clouds = clouds
        self._key = key
        self._region = region

    def client(self, service: str, **options: Any) -> Any:  # noqa: ANN401 -- boto3 has no types
        """Return a client of one service."""
        session = boto3.Session(
            self._key.access_key_id, self._key.secret_access_key, self._key.session_token, self._region
        )
        config = Config(proxies={"https": self._clouds.gateway_url}, retries={"total_max_attempts": 1})
        return session.client(service, config=config, verify=str(self._clouds.ca_bundle), **options)

    def assume(self, role_arn: str, **options: Any) -> MadeKey:  # noqa: ANN401 -- boto3 has no types
        """Assume a role; raise ClientError."""
        arguments = {
            "RoleArn": role_arn,
            "RoleSessionName": "a-session",
            "ExternalId": EXTERNAL_ID,
            **options,
        }
        given = self.client("sts").assume_role(
            **{name: value for name, value in arguments.items() if value is not None}
        )["Credentials"]
        return MadeKey(given["AccessKeyId"], given["SecretAccessKey"], role_arn, given["SessionToken"])

    def token(self) -> str:
        """Return a registry token as it goes behind `Basic `; raise ClientError."""
        token: str = self.client("ecr").get_authorization_token()["authorizationData"][0][
            "authorizationToken"
        ]
        return token


def pull_token(clouds: Clouds, scene: Scene, region: str = REGION) -> str:
    """Climb from the scene's key to a registry token."""
    return Sdk(clouds, Sdk(clouds, scene.key, region).assume(scene.role_arn), region).token()


def refused(call: Callable[..., object], *arguments: object, **options: object) -> tuple[str, int, str]:
    """Return code, HTTP status and message of the ClientError that a call raises."""
    try:
        call(*arguments, **options)
    except ClientError as error:
        answer = error.response
        return (
            answer["Error"]["Code"],
            answer["ResponseMetadata"]["HTTPStatusCode"],
            answer["Error"].get("Message", ""),
        )
    raise AssertionError("the call was not refused")
