"""What anybody may read of vreg's own issuer, and what nobody may."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from tests.support.api_world import Api
from tests.support.issuer_site import ISSUER_URL
from vreg_api.app import create_app
from vreg_api.issuer import Issuer
from vreg_api.settings import ApiSettings
from vreg_cli.home import Home, open_home
from vreg_cli.issuer_keys import ensure_issuer_keys, rotate
from vreg_cli.issuer_rotation import OVERLAP
from vreg_shared.issuer_documents import discovery_document
from vreg_shared.settings import SettingsError, load

DISCOVERY = "/oidc/.well-known/openid-configuration"
JWKS = "/oidc/jwks.json"


@pytest.fixture
def home(tmp_path: Path, api: Api) -> Home:
    opened = open_home(tmp_path / "home")
    ensure_issuer_keys(opened, api.clock.now())
    return opened


@pytest.fixture
async def client(api: Api, home: Home) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody without a token, and an issuer that is configured."""
    async with anybody(api, Issuer(ISSUER_URL, home.public_keys.issuer_jwks_path)) as asking:
        yield asking


def anybody(api: Api, issuer: Issuer | None) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(create_app(replace(api.world, issuer=issuer)))
    return httpx.AsyncClient(transport=transport, base_url="http://some.other.host", trust_env=False)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", [DISCOVERY, JWKS])
async def test_anybody_may_read_both_and_keep_them_for_an_hour(
    client: httpx.AsyncClient, method: str, path: str
) -> None:
    answer = await client.request(method, path)

    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Cache-Control"] == "public, max-age=3600"


async def test_they_are_what_is_exported_whatever_host_was_asked(
    client: httpx.AsyncClient, home: Home
) -> None:
    assert (await client.get(DISCOVERY)).content == discovery_document(ISSUER_URL)
    assert (await client.get(JWKS)).content == home.public_keys.issuer_jwks_path.read_bytes()
    assert json.loads(discovery_document(ISSUER_URL))["issuer"] == ISSUER_URL


async def test_a_rotation_shows_without_a_restart(client: httpx.AsyncClient, api: Api, home: Home) -> None:
    before = (await client.get(JWKS)).json()["keys"]
    rotation = rotate(home, api.clock.now(), OVERLAP)

    after = (await client.get(JWKS)).json()["keys"]

    assert [key["kid"] for key in after] == [key.kid for key in rotation.keys.keys]
    assert after[:1] == before
    assert all(key.keys() == {"kty", "use", "alg", "kid", "n", "e"} for key in after)


async def test_they_are_served_while_the_database_is_away(client: httpx.AsyncClient, api: Api) -> None:
    async with api.database.write() as tx:
        for table in ("access_tokens", "identities"):
            await tx.exec_driver_sql(f"DROP TABLE {table}")
    await api.database.close()

    assert (await client.get(DISCOVERY)).status_code == 200
    assert (await client.get(JWKS)).status_code == 200


async def test_keys_that_cannot_be_read_are_unavailable_and_not_absent(
    client: httpx.AsyncClient, home: Home
) -> None:
    home.public_keys.issuer_jwks_path.unlink()

    answer = await client.get(JWKS)

    assert (answer.status_code, answer.json()["code"]) == (503, "issuer_unavailable")
    assert answer.headers["Retry-After"]
    assert str(home.path) not in answer.text


async def test_without_an_issuer_there_is_nothing(api: Api) -> None:
    async with anybody(api, None) as asking:
        for path in (DISCOVERY, JWKS, "/jwks.json", "/.well-known/openid-configuration"):
            assert (await asking.get(path)).status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        "/oidc",
        "/oidc/",
        f"{DISCOVERY}/",
        f"{JWKS}/",
        "/jwks.json",
        "/.well-known/openid-configuration",
        "/oidc/.well-known/jwks.json",
        "/oidc/issuer.jwks.json",
        "/oidc/../public/token-broker.signing.pub",
        "/oidc/%2e%2e/token-broker/issuer",
        "/api/v1/oidc/jwks.json",
    ],
)
async def test_nothing_else_is_for_anybody(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.get(path)).status_code in {401, 404}


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_they_are_only_read(client: httpx.AsyncClient, method: str) -> None:
    assert (await client.request(method, JWKS)).status_code == 405


async def test_the_description_of_the_api_is_silent_about_them(client: httpx.AsyncClient, api: Api) -> None:
    headers = {"Authorization": f"Bearer {api.admin_token}"}
    paths = (await client.get("/api/v1/openapi.json", headers=headers)).json()["paths"]

    assert not [path for path in paths if not path.startswith("/api/v1/")]


@pytest.mark.parametrize("path", ["/api", "/api/v1", "/api/oidc"])
def test_an_issuer_below_the_api_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    for name, text in {
        "VREG_KEYS": str(tmp_path),
        "VREG_PUBLIC_KEYS": str(tmp_path),
        "VREG_DATABASE_URL": "sqlite:////tmp/vreg.db",
        "VREG_ISSUER_URL": f"https://vreg.example.com{path}",
    }.items():
        monkeypatch.setenv(name, text)

    with pytest.raises(SettingsError, match=r"VREG_ISSUER_URL: its path must not begin with /api"):
        load(ApiSettings)
