"""What exchanges are given to climb from, as the running broker is set up."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.broker.bus_world import bus_world
from tests.support.issuer_site import ISSUER_URL, verified
from tests.support.nats_server import running_nats_server
from tests.support.wait import eventually
from vreg_shared.auth_method import IdentityTokenNeed
from vreg_shared.catalogue import Catalogue
from vreg_shared.clock import SystemClock
from vreg_shared.issuer_documents import discovery_document
from vreg_shared.issuer_keys import IssuerKey, read_issuer_keys
from vreg_shared.key_files import KeyFolder
from vreg_token_broker import wiring
from vreg_token_broker.exchange import Exchange, ExchangeWorld
from vreg_token_broker.exchanges import find_exchanges


async def test_exchanges_get_tokens_of_the_issuer_and_of_the_files_that_the_operator_configured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[ExchangeWorld] = []

    def found(catalogue: Catalogue, world: ExchangeWorld) -> Mapping[str, Exchange]:
        given.append(world)
        return find_exchanges(catalogue, world)

    (tmp_path / "token").write_text("a.b.c")
    monkeypatch.setattr(wiring, "find_exchanges", found)
    monkeypatch.setenv("VREG_ISSUER_URL", ISSUER_URL)
    monkeypatch.setenv("VREG_TOKEN_FILES", f"irsa={tmp_path}/token")
    async with running_nats_server(tmp_path / "nats") as server, bus_world(server, tmp_path) as world:
        folder, first = KeyFolder(world.keys.private).issuer_path, IssuerKey.generate(SystemClock().now())
        folder.mkdir()
        (folder / first.file_name).write_bytes(first.to_pem())
        async with world.broker():
            await eventually(lambda: given)
            tokens = given[0].identity_tokens
            own = await tokens.token("idn1", IdentityTokenNeed("sts.example"))
            of_file = await tokens.token("idn1", IdentityTokenNeed("sts.example", "irsa"))

    documents = {
        "jwks.json": read_issuer_keys(folder).jwks(),
        ".well-known/openid-configuration": discovery_document(ISSUER_URL),
    }
    said = await verified(own.reveal(), SystemClock().now(), documents.__getitem__)
    assert (said.subject, said.audience) == ("vreg:identity:idn1", "sts.example")
    assert of_file.reveal() == "a.b.c"
