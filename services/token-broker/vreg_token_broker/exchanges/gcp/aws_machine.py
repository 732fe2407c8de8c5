"""What AWS tells a machine of its role: a container by an endpoint, an instance by its metadata.

Source: botocore utils.py. The environment is what the platform told this process.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal
from urllib.parse import quote, urlsplit

from vreg_shared.providers.gcp.refusals import AWS_CREDENTIALS
from vreg_token_broker.exchange import Unavailable
from vreg_token_broker.exchanges.gcp.answers import Answer, GcpUnavailableError
from vreg_token_broker.exchanges.gcp.proofs import AwsKeys
from vreg_token_broker.exchanges.gcp.wire import Wire

_TASK: Final = "http://169.254.170.2"
_INSTANCE: Final = "http://169.254.169.254"
_ROLES: Final = "/latest/meta-data/iam/security-credentials/"
_LOCAL: Final = frozenset(
    {"169.254.170.2", "169.254.170.23", "fd00:ec2::23", "localhost", "127.0.0.1", "::1"}
)


async def keys(
    wire: Wire, environment: Mapping[str, str], source: Literal["container", "instance"]
) -> AwsKeys:
    """Return the keys of the machine's AWS role; raise GcpRefusedError or GcpUnavailableError."""
    answer = await (_container(wire, environment) if source == "container" else _instance(wire, environment))
    document = answer.document()
    return AwsKeys(
        answer.secret(document, "AccessKeyId").reveal(),
        answer.secret(document, "SecretAccessKey"),
        answer.secret(document, "Token"),
    )


async def _container(wire: Wire, environment: Mapping[str, str]) -> Answer:
    headers = {"Accept": "application/json"}
    token = _container_token(environment)
    if token:
        headers["Authorization"] = token
    return await wire.ask(AWS_CREDENTIALS, "GET", _container_url(environment), headers)


def _container_url(environment: Mapping[str, str]) -> str:
    relative = environment.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "")
    if relative:
        return f"{_TASK}/{relative.removeprefix('/')}"
    url = environment.get("AWS_CONTAINER_CREDENTIALS_FULL_URI", "")
    place = urlsplit(url)
    if place.scheme != "http" or place.hostname not in _LOCAL:
        raise _misled("AWS_CONTAINER_CREDENTIALS_FULL_URI is not set, or leads off this machine")
    return url


def _container_token(environment: Mapping[str, str]) -> str:
    """Return what the platform put into a file or the environment to ask with."""
    file = environment.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")
    if not file:
        return environment.get("AWS_CONTAINER_AUTHORIZATION_TOKEN", "")
    try:
        return Path(file).read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        raise _misled("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE cannot be read") from None


async def _instance(wire: Wire, environment: Mapping[str, str]) -> Answer:
    """Ask the instance's metadata, with the session token that its second version wants."""
    origin = environment.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", "").rstrip("/") or _INSTANCE
    life = {"x-aws-ec2-metadata-token-ttl-seconds": "300"}
    session = (await wire.ask(AWS_CREDENTIALS, "PUT", f"{origin}/latest/api/token", life)).text()
    headers = {"x-aws-ec2-metadata-token": session}
    role = (await wire.ask(AWS_CREDENTIALS, "GET", f"{origin}{_ROLES}", headers)).text()
    return await wire.ask(AWS_CREDENTIALS, "GET", f"{origin}{_ROLES}{quote(role, safe='')}", headers)


def _misled(what: str) -> GcpUnavailableError:
    return GcpUnavailableError(Unavailable("no_ambient_identity", f"{AWS_CREDENTIALS}: {what}"))
