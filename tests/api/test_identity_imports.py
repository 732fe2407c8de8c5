"""Identities made of a document in a cloud's own format, which is sealed and never shown."""

import io
import json
import shutil
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.api_world import Api, running_api
from tests.support.keyless import Keyless, catalogue_with, read_document
from tests.support.logs import captured_logs
from vreg_api.secret_document import SecretDocument
from vreg_shared.catalogue import Catalogue, catalogue
from vreg_shared.operator_grants import OperatorGrants
from vreg_shared.providers.gcp.example_key import EXAMPLE_KEY
from vreg_shared.sealing import open_sealed

CANARY = "canary/7f3A+document"
DOCUMENT = {"type": "robot", "user": "robot$vreg", "key": CANARY}
IMPORT: dict[str, Any] = {
    "name": "imported",
    "document": DOCUMENT,
    "usable_for": {"hosts": ["harbor.example.com"]},
}


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    with captured_logs("api") as text:
        yield text


@pytest.fixture
async def importing(tmp_path: Path, migrated: Path) -> AsyncIterator[Api]:
    """An api whose basic provider reads documents."""
    shutil.copy(migrated, tmp_path / "vreg.db")
    of = catalogue_with(read_document=read_document)
    async with running_api(f"sqlite:///{tmp_path}/vreg.db", is_migrated=True, of=of) as api:
        yield api


@pytest.mark.parametrize("provider", [{}, {"provider": "basic"}, {"provider": None}], ids=str)
async def test_a_document_becomes_an_identity_like_any_other(
    importing: Api, provider: dict[str, Any]
) -> None:
    answer = await importing.call("POST", "/identities/imports", json=IMPORT | provider)

    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert answer.headers["Location"] == f"/api/v1/identities/{made['id']}"
    assert answer.headers["ETag"] == '"1"'
    assert made["auth_method"] == {"method": "basic.password", "username": "robot$vreg"}
    assert made["secret_fields"] == ["password"]
    assert (await importing.call("GET", f"/identities/{made['id']}")).json() == made
    async with importing.database.read() as tx:
        stored = await importing.world.identities.store.find(tx, made["id"])
    assert stored is not None
    record = stored.record()
    opened = open_sealed(record.sealed_secrets or "", importing.broker_key, record.seal_context())
    assert json.loads(opened.reveal()) == {"password": CANARY}


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"document": DOCUMENT | {"type": CANARY}}, "document", "document_refused"),
    ({"document": DOCUMENT | {CANARY: 1}}, "document", "document_refused"),
    (
        {"document": {"type": "robot", "user": f"{CANARY}:", "key": CANARY}},
        "document.username",
        "string_pattern_mismatch",
    ),
    ({"document": {"type": "robot", "user": "x", "key": [CANARY]}}, "document.password", "string_type"),
    ({"document": CANARY}, "document", "dict_type"),
    ({"document": [DOCUMENT]}, "document", "dict_type"),
    ({"document": None}, "document", "dict_type"),
    ({"provider": "aws"}, "provider", "reads_no_documents"),
    ({"provider": "nobody"}, "provider", "provider_unknown"),
    ({"usable_for": {}}, "usable_for.hosts", "missing"),
    ({"usable_for": CANARY}, "usable_for", "dict_type"),
    ({"name": ""}, "name", "string_too_short"),
    ({"external_id": "mine"}, "external_id", "extra_forbidden"),
]


@pytest.mark.parametrize(("wrong", "field", "code"), WRONG, ids=range(len(WRONG)))
async def test_what_is_wrong_is_named_and_not_repeated(
    importing: Api, log: io.StringIO, wrong: dict[str, Any], field: str, code: str
) -> None:
    answer = await importing.call("POST", "/identities/imports", json=IMPORT | wrong)

    assert answer.status_code == 422
    assert answer.json()["code"] == "validation_failed"
    assert (answer.json()["errors"][0]["field"], answer.json()["errors"][0]["code"]) == (field, code)
    assert CANARY not in answer.text + log.getvalue()
    assert (await importing.call("GET", "/identities")).json()["items"] == []


async def test_a_file_of_googles_is_known_without_being_told_and_refused_in_googles_terms(api: Api) -> None:
    wish = IMPORT | {"usable_for": {"projects": ["my-project"]}}
    key = {"type": "service_account", "private_key": CANARY, "token_uri": "https://evil.example"}
    refused = await api.call("POST", "/identities/imports", json=wish | {"document": key})
    assert refused.json()["errors"][0]["message"].startswith("token_uri: is not Google's")
    key = {
        "type": "service_account",
        "client_email": "vreg-pull@my-project.iam.gserviceaccount.com",
        "private_key_id": "0123abc",
        "private_key": EXAMPLE_KEY,
    }
    made = await api.call("POST", "/identities/imports", json=wish | {"document": key})
    assert made.json()["auth_method"]["method"] == "gcp.service_account_key", made.text
    assert made.json()["secret_fields"] == ["private_key"]


async def test_where_no_provider_reads_documents_that_is_said(tmp_path: Path, migrated: Path) -> None:
    shutil.copy(migrated, tmp_path / "vreg.db")
    of = Catalogue(tuple(replace(each, read_document=None) for each in catalogue().providers))
    async with running_api(f"sqlite:///{tmp_path}/vreg.db", is_migrated=True, of=of) as api:
        for provider in ({}, {"provider": "basic"}):
            answer = await api.call("POST", "/identities/imports", json=IMPORT | provider)
            assert answer.json()["errors"][0]["code"] == "reads_no_documents"


async def test_an_import_is_refused_for_whatever_a_creation_is(importing: Api, tmp_path: Path) -> None:
    await importing.call("POST", "/identities/imports", json=IMPORT)
    taken = await importing.call("POST", "/identities/imports", json=IMPORT)
    assert (taken.status_code, taken.json()["code"]) == (409, "name_taken")
    of = catalogue_with(read_document=lambda given: Keyless(**dict(read_document(given))), methods=(Keyless,))
    path = f"sqlite:///{tmp_path}/vreg.db"
    api = Api(path, grants=OperatorGrants(), of=of)
    headers = {"Authorization": f"Bearer {importing.admin_token}"}
    refused = await api.call("POST", "/identities/imports", json=IMPORT | {"name": "other"}, headers=headers)
    await api.client.aclose()
    await api.database.close()
    assert refused.json()["errors"][0]["code"] == "issuer_not_configured"


async def test_a_document_is_found_neither_in_the_database_nor_in_answers_nor_in_logs(
    importing: Api, log: io.StringIO, tmp_path: Path
) -> None:
    made = await importing.call("POST", "/identities/imports", json=IMPORT)
    read = await importing.call("GET", f"/identities/{made.json()['id']}")
    async with importing.relaying():
        await importing.bus.come_up()
    on_bus = b"".join([*importing.bus.values.values(), *(raw for _, raw in importing.bus.events.values())])
    await importing.database.close()
    stored = b"".join(path.read_bytes() for path in tmp_path.glob("vreg.db*"))

    for place in (made.content, read.content, on_bus, stored, log.getvalue().encode()):
        assert CANARY.encode() not in place


def test_a_document_prints_as_a_mask() -> None:
    document = SecretDocument(DOCUMENT)

    assert CANARY not in f"{document} {document!r}"
    assert document.reveal() == DOCUMENT
