"""The command as a client of the API: one request at a time, within a deadline, as the bearer of a token."""

import asyncio
import json
import os
import ssl
from collections.abc import AsyncIterator, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

from vreg_shared.errors import VregError
from vreg_shared.messages.access import InvalidTokenError, access_id_of
from vreg_shared.secret import Secret

TOKEN_VARIABLE: Final = "VREG_API_TOKEN"  # noqa: S105 - the variable's name
DEADLINE_SECONDS: Final = 30.0
SILENCE_SECONDS: Final = 30.0
MAX_ANSWER_BYTES: Final = 8 * 1024 * 1024
_MAX_TOKEN_BYTES: Final = 512


class ApiUnusableError(VregError):
    """The API cannot be reached, or does not speak as vreg does; the text says where and why."""


class ApiRefusedError(VregError):
    """The API said no, in its own words."""


class TokenMissingError(VregError):
    """There is no access token to ask with; the text says where it is looked for."""


class ApiClient:
    """Asks below `<url>/api/v1`; `ca_bundle` is a PEM file of authorities besides the system's."""

    def __init__(self, url: str, token: Secret, ca_bundle: Path | None = None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or "@" in parts.netloc:
            raise ApiUnusableError(f"{url} is not the API's URL; write it as http://127.0.0.1:8600")
        self._url = url.rstrip("/")
        self._token = token
        self._trust = _trust(ca_bundle)

    async def get(self, path: str, **query: str) -> dict[str, Any]:
        """Return what a GET answers with; raise ApiUnusableError or ApiRefusedError."""
        return await self._ask("GET", path, params=query)

    async def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return what a POST answers with; raise ApiUnusableError or ApiRefusedError."""
        return await self._ask("POST", path, json=body)

    async def lines(
        self, path: str, query: Mapping[str, str], headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[str]:
        """Yield what a GET answers with, line by line as it comes; raise ApiUnusableError, ApiRefusedError.

        It may go on for ever: only silence has a deadline.
        """
        client = httpx.AsyncClient(
            headers=self._headers(headers), verify=self._trust, trust_env=False, timeout=SILENCE_SECONDS
        )
        try:
            async with client, client.stream("GET", f"{self._url}/api/v1{path}", params=query) as answer:
                if answer.status_code != HTTPStatus.OK:
                    self._judged(answer.status_code, await self._body(answer))
                async for line in answer.aiter_lines():
                    yield line
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._unusable(str(error) or type(error).__name__) from error

    def _headers(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        own = {"Authorization": f"Bearer {self._token.reveal()}", "Accept": "application/json"}
        return own | dict(more or {})

    async def _ask(self, method: str, path: str, **request: Any) -> dict[str, Any]:  # noqa: ANN401 - httpx's own
        client = httpx.AsyncClient(headers=self._headers(), verify=self._trust, trust_env=False)
        try:
            async with (
                asyncio.timeout(DEADLINE_SECONDS),
                client,
                client.stream(method, f"{self._url}/api/v1{path}", **request) as answer,
            ):
                return self._judged(answer.status_code, await self._body(answer))
        except TimeoutError as error:
            raise self._unusable(f"no answer within {DEADLINE_SECONDS:g} s") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._unusable(str(error) or type(error).__name__) from error

    async def _body(self, answer: httpx.Response) -> bytes:
        body = bytearray()
        async for piece in answer.aiter_bytes():
            body += piece
            if len(body) > MAX_ANSWER_BYTES:
                raise self._unusable(f"its answer is longer than {MAX_ANSWER_BYTES} bytes")
        return bytes(body)

    def _judged(self, status: int, body: bytes) -> dict[str, Any]:
        try:
            answer = json.loads(body)
        except ValueError as error:
            raise self._unusable(f"it answered {status} without JSON") from error
        if not isinstance(answer, dict):
            raise self._unusable(f"it answered {status} without a JSON object")
        if status in {HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.ACCEPTED}:
            return answer
        raise ApiRefusedError(f"{answer.get('detail') or f'the API answered {status}'}")

    def _unusable(self, why: str) -> ApiUnusableError:
        return ApiUnusableError(f"the API at {self._url} cannot be used: {why}; name another with --api")


def read_token(token_file: Path | None, environment: Mapping[str, str] | None = None) -> Secret:
    """Return the token in a file, or else in VREG_API_TOKEN; raise TokenMissingError.

    It is no option: everybody on a machine sees the arguments of its processes.
    """
    if token_file is not None:
        with token_file.open("rb") as file:
            text = file.read(_MAX_TOKEN_BYTES).decode("utf-8", "replace")
    else:
        text = (os.environ if environment is None else environment).get(TOKEN_VARIABLE, "")
    token = Secret(text.strip())
    try:
        access_id_of(token)
    except InvalidTokenError as error:
        where = TOKEN_VARIABLE if token_file is None else str(token_file)
        raise TokenMissingError(
            f"{where} holds no access token; put one into {TOKEN_VARIABLE}, or into a file for --token-file"
        ) from error
    return token


def _trust(ca_bundle: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if ca_bundle is not None:
        try:
            context.load_verify_locations(ca_bundle)
        except ssl.SSLError as error:
            raise ApiUnusableError(f"{ca_bundle} holds no PEM certificates") from error
    return context
