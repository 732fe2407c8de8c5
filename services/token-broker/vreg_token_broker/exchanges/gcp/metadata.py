"""What Google's metadata server tells a machine: its service account, and tokens of it.

Source: google-auth compute_engine/_metadata.py. The environment is what the platform told this process.
"""

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

from vreg_shared.providers.gcp.refusals import METADATA
from vreg_token_broker.answers import NoAnswerError, strange
from vreg_token_broker.exchange import Refused
from vreg_token_broker.exchanges.gcp.answers import Answer
from vreg_token_broker.exchanges.gcp.google import AccessToken, oauth_token
from vreg_token_broker.exchanges.gcp.wire import Wire

_HOST_NAME: Final = "metadata.google.internal"
_ACCOUNT: Final = "/computeMetadata/v1/instance/service-accounts/default"
_FLAVOR: Final = {"Metadata-Flavor": "Google"}
_HOST: Final = re.compile(r"[A-Za-z0-9.-]+(?::[0-9]{1,5})?|\[[0-9a-fA-F:]+\](?::[0-9]{1,5})?")
_REMEDY_HOST: Final = (
    "Let the token-broker's environment name the machine's own metadata server as host[:port], or none."
)


async def token(wire: Wire, environment: Mapping[str, str], scope: str) -> AccessToken:
    """Return a token of the machine's service account; raise CloudRefusedError or NoAnswerError."""
    path = f"{_ACCOUNT}/token?scopes={quote(scope, safe='')}"
    return oauth_token(await _asked(wire, environment, path))


async def account(wire: Wire, environment: Mapping[str, str]) -> str:
    """Return the e-mail address of the machine's service account."""
    return (await _asked(wire, environment, f"{_ACCOUNT}/email")).text()


async def _asked(wire: Wire, environment: Mapping[str, str], path: str) -> Answer:
    host = environment.get("GCE_METADATA_HOST") or _HOST_NAME
    if _HOST.fullmatch(host) is None:
        detail = f"{METADATA}: GCE_METADATA_HOST is no host"
        raise NoAnswerError(Refused("no_ambient_identity", detail, _REMEDY_HOST))
    answer = await wire.ask(METADATA, "GET", f"http://{host}{path}", _FLAVOR)
    if answer.headers.get("metadata-flavor") != "Google":
        raise strange(METADATA, "what answers there is not Google's metadata server")
    return answer
