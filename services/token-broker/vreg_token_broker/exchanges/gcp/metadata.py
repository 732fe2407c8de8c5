"""What the machine is: Google's metadata server, and AWS's two, asked in clear where they always are.

Sources: google-auth compute_engine/_metadata.py; botocore utils.py. The environment is what the platform told
this process; a person's input chooses nothing here.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal
from urllib.parse import quote, urlsplit

from vreg_shared.providers.gcp.refusals import AWS_CREDENTIALS, METADATA
from vreg_token_broker.exchange import Unavailable
from vreg_token_broker.exchanges.gcp.answers import Answer, GcpUnavailableError
from vreg_token_broker.exchanges.gcp.google import AccessToken, oauth_token
from vreg_token_broker.exchanges.gcp.proofs import AwsKeys
from vreg_token_broker.exchanges.gcp.wire import Wire

_GOOGLE: Final = "metadata.google.internal"
_ACCOUNT: Final = "/computeMetadata/v1/instance/service-accounts/default"
_FLAVOR: Final = {"Metadata-Flavor": "Google"}
_HOST: Final = re.compile(r"[A-Za-z0-9.-]+(?::[0-9]{1,5})?|\[[0-9a-fA-F:]+\](?::[0-9]{1,5})?")
_AWS_TASK: Final = "http://169.254.170.2"
_AWS_INSTANCE: Final = "http://169.254.169.254"
_AWS_ROLES: Final = "/latest/meta-data/iam/security-credentials/"
_AWS_LOCAL: Final = frozenset(
    {"169.254.170.2", "169.254.170.23", "fd00:ec2::23", "localhost", "127.0.0.1", "::1"}
)


async def google_token(wire: Wire, environment: Mapping[str, str], scope: str) -> AccessToken:
    """Return a token of the machine's service account; raise GcpRefusedError or GcpUnavailableError."""
    path = f"{_ACCOUNT}/token?scopes={quote(scope, safe='')}"
    return oauth_token(await _google(wire, environment, path))


async def google_account(wire: Wire, environment: Mapping[str, str]) -> str:
    """Return the e-mail address of the machine's service account."""
    return (await _google(wire, environment, f"{_ACCOUNT}/email")).text()


async def _google(wire: Wire, environment: Mapping[str, str], path: str) -> Answer:
    host = environment.get("GCE_METADATA_HOST") or _GOOGLE
    if _HOST.fullmatch(host) is None:
        raise _misled(METADATA, "GCE_METADATA_HOST is no host")
    answer = await wire.ask(METADATA, "GET", f"http://{host}{path}", _FLAVOR)
    if answer.headers.get("metadata-flavor") != "Google":
        raise answer.strange("what answers there is not Google's metadata server")
    return answer


async def aws_keys(
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
        return f"{_AWS_TASK}/{relative.removeprefix('/')}"
    url = environment.get("AWS_CONTAINER_CREDENTIALS_FULL_URI", "")
    place = urlsplit(url)
    if place.scheme != "http" or place.hostname not in _AWS_LOCAL:
        raise _misled(
            AWS_CREDENTIALS, "AWS_CONTAINER_CREDENTIALS_FULL_URI is not set, or leads off this machine"
        )
    return url


def _container_token(environment: Mapping[str, str]) -> str:
    """Return what the platform put into a file or the environment to ask with."""
    file = environment.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")
    if not file:
        return environment.get("AWS_CONTAINER_AUTHORIZATION_TOKEN", "")
    try:
        return Path(file).read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        raise _misled(AWS_CREDENTIALS, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE cannot be read") from None


async def _instance(wire: Wire, environment: Mapping[str, str]) -> Answer:
    """Ask the instance's metadata, with the session token that its second version wants."""
    origin = environment.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", "").rstrip("/") or _AWS_INSTANCE
    life = {"x-aws-ec2-metadata-token-ttl-seconds": "300"}
    session = (await wire.ask(AWS_CREDENTIALS, "PUT", f"{origin}/latest/api/token", life)).text()
    headers = {"x-aws-ec2-metadata-token": session}
    role = (await wire.ask(AWS_CREDENTIALS, "GET", f"{origin}{_AWS_ROLES}", headers)).text()
    return await wire.ask(AWS_CREDENTIALS, "GET", f"{origin}{_AWS_ROLES}{quote(role, safe='')}", headers)


def _misled(step: str, what: str) -> GcpUnavailableError:
    return GcpUnavailableError(Unavailable("no_ambient_identity", f"{step}: {what}"))
