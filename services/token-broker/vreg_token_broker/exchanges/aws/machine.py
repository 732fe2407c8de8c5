"""The role of the machine the broker runs on, asked in clear at addresses that only the machine reaches.

Written by hand: botocore's fetchers retry, sleep, read answers without end, take proxies from the environment
and fall back to version 1 of the metadata service. Where to ask is what the platform told this process;
nobody's input chooses it. Source of the rules: botocore utils.py.
"""

import asyncio
import ipaddress
import re
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import aiohttp
from yarl import URL

from vreg_shared.aws_machine import CONTAINER, INSTANCE_ROLE, INSTANCE_SESSION
from vreg_shared.provider import retry_after_of
from vreg_shared.refusals import Refusal
from vreg_shared.secret import Secret
from vreg_token_broker.answers import (
    CloudRefusedError,
    NoAnswerError,
    body_of,
    headers_of,
    no_answer,
    object_in,
    secret_in,
    strange,
)
from vreg_token_broker.exchange import Refused
from vreg_token_broker.exchanges.aws.rungs import AwsKeys, Budget, Session

CALL_SECONDS: Final = 3.0
_OK: Final = 200
_TASK_ORIGIN: Final = "http://169.254.170.2"
_CLEAR_HOSTS: Final = frozenset({"169.254.170.2", "169.254.170.23", "fd00:ec2::23", "localhost"})
_INSTANCE_ORIGIN: Final = "http://169.254.169.254"
_INSTANCE_ORIGIN_6: Final = "http://[fd00:ec2::254]"
_ROLES: Final = "/latest/meta-data/iam/security-credentials/"
_ROLE_NAME: Final = re.compile(r"[\w+=,.@-]{1,64}", re.ASCII)
_SESSION_LIFE: Final = {"x-aws-ec2-metadata-token-ttl-seconds": "300"}
_REMEDY_CONTAINER: Final = (
    "Run the token-broker in EKS with a Pod Identity association, or in ECS with a task role; elsewhere use "
    "another auth method."
)
_REMEDY_INSTANCE: Final = (
    "Let the token-broker's environment name the instance's own metadata service, or none."
)
_HOP_LIMIT: Final = (
    "; from a container the answer needs a hop limit of 2: aws ec2 modify-instance-metadata-options "
    "--http-put-response-hop-limit 2"
)


class Machine:
    """Asks the platform. `environment` is what it told this process; `trust_file` is for https addresses."""

    def __init__(self, environment: Mapping[str, str], trust_file: str | None = None) -> None:
        self._environment = environment
        self._trust_file = trust_file

    async def container(self, budget: Budget) -> Session:
        """Return the role of the pod or task; raise CloudRefusedError or NoAnswerError."""
        url, headers = self._container_url(), {"Accept": "application/json"}
        token = self._container_token()
        if token is not None:
            headers["Authorization"] = token.reveal()
        given = _document(CONTAINER, await self._ask(CONTAINER, "GET", url, headers, budget))
        keys = _keys(CONTAINER, given)
        return Session(keys, str(given.get("RoleArn") or given.get("AccountId") or keys.access_key_id))

    async def instance(self, budget: Budget) -> Session:
        """Return the role of the instance, by version 2 alone; raise CloudRefusedError or NoAnswerError."""
        origin = self._instance_origin()
        token = await self._ask(
            INSTANCE_SESSION, "PUT", _url(origin + "/latest/api/token"), _SESSION_LIFE, budget
        )
        headers = {"x-aws-ec2-metadata-token": _header(INSTANCE_SESSION, token)}
        name = (await self._ask(INSTANCE_ROLE, "GET", _url(origin + _ROLES), headers, budget)).strip()
        if _ROLE_NAME.fullmatch(name) is None:
            raise strange(INSTANCE_ROLE, "the answer names no role")
        answer = await self._ask(INSTANCE_ROLE, "GET", _url(origin + _ROLES + name), headers, budget)
        given = _document(INSTANCE_ROLE, answer)
        if given.get("Code", "Success") != "Success":
            message = str(given.get("Message", ""))
            raise CloudRefusedError(Refusal(INSTANCE_ROLE, str(given["Code"]), message, _OK))
        return Session(_keys(INSTANCE_ROLE, given), name)

    def _container_url(self) -> URL:
        """Return where the credentials are; in clear only on this machine, and the short form wins."""
        relative = self._environment.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "")
        full = self._environment.get("AWS_CONTAINER_CREDENTIALS_FULL_URI", "")
        if relative:
            url = _url(_TASK_ORIGIN + relative) if relative.startswith("/") else None
        else:
            url = _url(full) if full else None
        if url is None:
            raise _nobody(CONTAINER, "the platform tells this process of no role", _REMEDY_CONTAINER)
        if url.scheme != "https" and not (url.scheme == "http" and _is_on_this_machine(url.host or "")):
            raise _nobody(CONTAINER, f"credentials in clear are not of {url.host}", _REMEDY_CONTAINER)
        return url

    def _container_token(self) -> Secret | None:
        """Return what the platform wants to be asked with; its file is read anew each time."""
        file = self._environment.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")
        text = self._environment.get("AWS_CONTAINER_AUTHORIZATION_TOKEN", "")
        if file:
            try:
                text = Path(file).read_text(encoding="utf-8")
            except (OSError, ValueError):
                raise _nobody(CONTAINER, f"{file} cannot be read", _REMEDY_CONTAINER) from None
        return Secret(_header(CONTAINER, text)) if text else None

    def _instance_origin(self) -> str:
        if self._environment.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
            raise _nobody(INSTANCE_SESSION, "AWS_EC2_METADATA_DISABLED is set", _REMEDY_INSTANCE)
        mode = self._environment.get("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "").lower()
        usual = _INSTANCE_ORIGIN_6 if mode == "ipv6" else _INSTANCE_ORIGIN
        origin = (self._environment.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or usual).rstrip("/")
        if not origin.startswith(("http://", "https://")):
            raise _nobody(
                INSTANCE_SESSION, "AWS_EC2_METADATA_SERVICE_ENDPOINT is no address", _REMEDY_INSTANCE
            )
        return origin

    async def _ask(self, step: str, method: str, url: URL, headers: Mapping[str, str], budget: Budget) -> str:
        """Return the body of a 200; raise CloudRefusedError for another status, NoAnswerError for none."""
        seconds = min(CALL_SECONDS, budget.left(step))
        try:
            async with (
                asyncio.timeout(seconds),
                self._session(url) as session,
                session.request(method, url, headers=headers, allow_redirects=False) as response,
            ):
                text = (await body_of(response, step)).decode("utf-8", "replace")
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            is_late = isinstance(error, TimeoutError) and step == INSTANCE_SESSION
            raise no_answer(step, url, error, _HOP_LIMIT if is_late else "") from error
        if response.status != _OK:
            raise CloudRefusedError(_refusal(step, response.status, headers_of(response.headers), text))
        return text

    def _session(self, url: URL) -> aiohttp.ClientSession:
        """Return a session past proxy and egress gate: the address is the machine's own."""
        context = ssl.create_default_context(cafile=self._trust_file) if url.scheme == "https" else True
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=context, force_close=True),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
        )


def _url(text: str) -> URL:
    try:
        return URL(text, encoded=True)
    except ValueError:
        raise _nobody(CONTAINER, "the platform names an address that is none", _REMEDY_CONTAINER) from None


def _is_on_this_machine(host: str) -> bool:
    try:
        return host in _CLEAR_HOSTS or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _header(step: str, text: str) -> str:
    """Return a token as a header's value; files end with a newline, which would not be one."""
    stripped = text.strip()
    if not (stripped and stripped.isascii() and stripped.isprintable()):
        raise strange(step, "the token to ask with is empty or not text")
    return stripped


def _document(step: str, text: str) -> dict[str, Any]:
    found = object_in(text)
    if found is None:
        raise strange(step, "the answer is not a JSON object")
    return found


def _keys(step: str, given: Mapping[str, Any]) -> AwsKeys:
    key_id, key, token = (
        secret_in(step, given, name) for name in ("AccessKeyId", "SecretAccessKey", "Token")
    )
    return AwsKeys(key_id.reveal(), key, token)


def _refusal(step: str, status: int, headers: Mapping[str, str], text: str) -> Refusal:
    """Return what an error answer says: a JSON object, of either spelling, or plain words."""
    given = object_in(text)
    if given is None:
        given = {"message": text}
    code, message = (given.get(name) or given.get(name.title()) or "" for name in ("code", "message"))
    words = str(message)
    return Refusal(step, str(code or status), words, status, retry_after=retry_after_of(headers))


def _nobody(step: str, what: str, remedy: str) -> NoAnswerError:
    return NoAnswerError(Refused("no_ambient_identity", f"{step}: {what}", remedy))
