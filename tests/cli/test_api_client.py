"""The command as a client of the API, before one that is none."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.support.ports import free_ports
from vreg_cli import api_client
from vreg_cli.api_client import ApiClient, ApiRefusedError, ApiUnusableError, TokenMissingError, read_token
from vreg_cli.trust_script import trust_script
from vreg_shared.secret import Secret

TOKEN = Secret("vreg_01KAS1G6V5X4T3NQ7R8M2C9B0Z_" + "A" * 43)


async def answer(request: web.Request) -> web.Response:
    if request.headers["Authorization"] != f"Bearer {TOKEN.reveal()}":
        return web.Response(status=401)
    return {
        "good": web.json_response({"is": "good"}),
        "list": web.json_response([]),
        "page": web.Response(text="<html>a proxy's page</html>"),
        "moved": web.Response(status=302, headers={"Location": "/api/v1/good"}),
        "refused": web.json_response({"detail": "a field is wrong"}, status=422),
        "mute": web.json_response({}, status=500),
        "long": web.Response(body=b"x" * (api_client.MAX_ANSWER_BYTES + 1)),
    }[request.match_info["what"]]


@pytest.fixture
async def url() -> AsyncIterator[str]:
    server = web.Application()
    server.router.add_route("*", "/api/v1/{what}", answer)
    async with TestServer(server) as running:
        yield str(running.make_url("")).rstrip("/")


async def test_it_asks_as_the_bearer_of_the_token(url: str) -> None:
    client = ApiClient(f"{url}/", TOKEN)

    assert await client.get("/good") == await client.post("/good", {}) == {"is": "good"}


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/list", "without a JSON object"),
        ("/page", "it answered 200 without JSON"),
        ("/moved", "it answered 302 without JSON"),
        ("/long", "is longer than"),
    ],
)
async def test_what_is_not_the_api_is_named_with_its_url(url: str, path: str, says: str) -> None:
    with pytest.raises(ApiUnusableError, match=says) as refused:
        await ApiClient(url, TOKEN).get(path)

    assert url in str(refused.value)
    assert "--api" in str(refused.value)


async def test_a_refusal_is_in_the_words_of_the_api(url: str) -> None:
    with pytest.raises(ApiRefusedError, match=r"^a field is wrong$"):
        await ApiClient(url, TOKEN).get("/refused")
    with pytest.raises(ApiRefusedError, match=r"^the API answered 500$"):
        await ApiClient(url, TOKEN).get("/mute")


async def test_nobody_there_is_one_line() -> None:
    [port] = free_ports(1)
    with pytest.raises(ApiUnusableError, match="cannot be used"):
        await ApiClient(f"http://127.0.0.1:{port}", TOKEN).get("/good")


async def test_no_answer_in_time_is_said(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_client, "DEADLINE_SECONDS", 0.0)

    with pytest.raises(ApiUnusableError, match="no answer within"):
        await ApiClient(url, TOKEN).get("/good")


@pytest.mark.parametrize("url", ["", "127.0.0.1:8600", "ftp://x", "http://", "http://u:p@x", "http://x?y"])
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(ApiUnusableError, match="is not the API's URL"):
        ApiClient(url, TOKEN)


def test_a_file_comes_before_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN.reveal()}\n")

    assert read_token(file, {}) == read_token(None, {"VREG_API_TOKEN": TOKEN.reveal()}) == TOKEN


@pytest.mark.parametrize("text", ["", "canary", "canary\r\nX-Evil: 1", "vreg_canary"])
def test_what_is_no_token_is_refused_and_not_repeated(tmp_path: Path, text: str) -> None:
    file = tmp_path / "token"
    file.write_text(text)

    for given in ((file, {}), (None, {"VREG_API_TOKEN": text})):
        with pytest.raises(TokenMissingError) as refused:
            read_token(*given)
        assert "canary" not in str(refused.value)


def test_a_script_can_be_pasted_and_tells_what_comes_first() -> None:
    text = trust_script(
        {
            "subject": "vreg:identity:1",
            "external_id": "vreg-1",
            "issuer_url": None,
            "objections": [{"message": "set VREG_ISSUER_URL"}],
            "steps": [
                {"title": "Write it", "language": "json", "file": "a b.json", "text": '{"a": "$HOME"}\n'},
                {"title": "Run it", "language": "sh", "file": None, "text": "cloud roles create"},
                {"title": "See it", "language": "json", "file": None, "text": "{\n}"},
            ],
        }
    )

    assert text == (
        "# subject      vreg:identity:1\n"
        "# external id  vreg-1\n"
        "# issuer       none is configured\n"
        "# First, as the operator of vreg: set VREG_ISSUER_URL\n"
        "\n# 1. Write it\ncat > 'a b.json' <<'END_OF_FILE'\n{\"a\": \"$HOME\"}\nEND_OF_FILE\n"
        "\n# 2. Run it\ncloud roles create\n"
        "\n# 3. See it\n#    {\n#    }\n"
    )
