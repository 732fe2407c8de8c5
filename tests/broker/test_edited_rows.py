"""Whoever writes into the api's database makes it sign what he wrote; the secret still goes nowhere new."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest
import sqlalchemy as sa

from tests.broker.world import BrokerWorld
from tests.support.api_world import PASSWORD, Api, running_api
from tests.support.registry_world import CA_PEM
from vreg_api.records import Records
from vreg_api.store.tables import IDENTITIES, UPSTREAMS
from vreg_shared.messages.identity import IdentityRecord
from vreg_shared.messages.upstream import UpstreamRecord
from vreg_shared.private_ca import fingerprints

EVIL: Final = "evil.example.com"
WIDENED: Final = {"hosts": ["harbor.example.com", EVIL]}
VOUCHED_FOR: Final = {"hosts": ["harbor.example.com"], "private_ca_sha256": sorted(fingerprints(CA_PEM))}
Edit = dict[str, Any]


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with running_api(f"sqlite:///{tmp_path}/vreg.db") as running:
        yield running


async def hear(api: Api, world: BrokerWorld, identity_id: str, upstream_id: str) -> None:
    """Let the broker hear what the api's relay would tell it."""
    records = Records(api.database)
    identity = IdentityRecord.model_validate_json((await records.current(f"identity.{identity_id}")).body)
    upstream = UpstreamRecord.model_validate_json((await records.current(f"upstream.{upstream_id}")).body)
    await world.write(lambda book: book.put_identity(identity), lambda book: book.put_upstream(upstream))


@pytest.mark.parametrize(
    ("of_upstream", "of_identity", "reason"),
    [
        ({"host": EVIL}, {}, "host_not_permitted"),
        ({"host": EVIL}, {"usable_for": WIDENED}, "seal_broken"),
        ({"token_realm": f"https://{EVIL}/token"}, {}, "realm_not_permitted"),
        ({"token_realm": f"https://{EVIL}/token"}, {"usable_for": WIDENED}, "seal_broken"),
        ({"private_ca": CA_PEM}, {}, "private_ca_not_permitted"),
        ({"private_ca": CA_PEM}, {"usable_for": VOUCHED_FOR}, "seal_broken"),
        ({"private_ca": CA_PEM.replace("CERTIFICATE", "TRUSTED CERTIFICATE")}, {}, "private_ca_unreadable"),
        ({}, {"credential_version": 2}, "seal_broken"),
        ({"kind": "ecr"}, {}, "host_invalid"),
    ],
)
async def test_a_secret_whose_row_was_edited_by_hand_stays_closed(
    api: Api, of_upstream: Edit, of_identity: Edit, reason: str
) -> None:
    identity = await api.create("identities", PASSWORD)
    wish = {"name": "u", "kind": "oci", "host": "harbor.example.com", "identity_id": identity["id"]}
    upstream = await api.create("upstreams", wish)
    async with BrokerWorld(None, api.broker_key) as world:
        await hear(api, world, identity["id"], upstream["id"])
        assert len(world.exchange.orders) == 1

        async with api.database.write() as tx:
            for table, edit in ((UPSTREAMS, of_upstream), (IDENTITIES, of_identity)):
                if edit:
                    await tx.execute(sa.update(table).values(**edit, version=2))
        await hear(api, world, identity["id"], upstream["id"])

        assert len(world.exchange.orders) == 1
        assert reason in [facts.get("reason") for _, _, facts in world.ledger.events]
        for lease in world.publisher.leases:
            assert lease.hosts == ("harbor.example.com",)
            assert lease.private_ca_sha256 == ()
        assert "canary" not in json.dumps(world.ledger.events, default=str)
