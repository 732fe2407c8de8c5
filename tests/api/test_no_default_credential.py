"""A fresh start: nothing anybody could read beforehand lets him in."""

import re
from pathlib import Path

import pytest

from tests.support.api_world import Api
from vreg_api.problems import INVALID_TOKEN, ProblemError
from vreg_api.store.schema import migrate
from vreg_shared.secret import Secret

ROOT = Path(__file__).parents[2]
READABLE = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "Dockerfile", "docker-compose.yml")),
    *(ROOT / "docs").rglob("*.md"),
    *(path for house in ("services", "shared", "cli") for path in (ROOT / house).rglob("*.py")),
]
LIKE_A_TOKEN = re.compile(r"vreg_[0-9A-Z]{26}_[\w-]{43}")


def words() -> set[str]:
    """Everything in documentation, configuration and code that stands by itself, quoted or not."""
    found: set[str] = set()
    for path in READABLE:
        found.update(re.findall(r"[^\s\"'`<>(){}\[\],;]{4,200}", path.read_text()))
    return found


async def test_nothing_in_the_documentation_or_the_configuration_is_a_credential(api: Api) -> None:
    tried = words()
    assert len(tried) > 5000
    assert not [word for word in tried if LIKE_A_TOKEN.search(word)]
    for word in tried:
        with pytest.raises(ProblemError) as refused:
            await api.world.authenticator.authenticate(Secret(word))
        assert refused.value.case is INVALID_TOKEN


async def test_before_the_first_token_is_made_nobody_is_let_in_and_it_is_made_once(tmp_path: Path) -> None:
    api = Api(f"sqlite:///{tmp_path}/vreg.db")
    try:
        await migrate(api.database)
        for header in ({}, {"Authorization": "Basic YWRtaW46YWRtaW4="}, {"Authorization": "Bearer admin"}):
            answer = await api.call("GET", "/access_tokens/self", headers=header)
            assert answer.status_code == 401
        first = await api.world.access_tokens.bootstrap()
        assert first is not None
        assert await api.world.access_tokens.bootstrap() is None
        header = {"Authorization": f"Bearer {first.reveal()}"}
        assert (await api.call("GET", "/access_tokens/self", headers=header)).json()["role"] == "admin"
    finally:
        await api.client.aclose()
        await api.database.close()
