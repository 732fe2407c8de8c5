"""Climbs of the broker's own AWS exchange through the gateway, and what tests say of their outcomes."""

import time
from collections.abc import Mapping
from pathlib import Path

from tests.clouds.aws.control import MadeKey
from tests.clouds.clouds import Clouds
from tests.clouds.issuer import TestIssuer
from tests.clouds.scene import EXTERNAL_ID, Scene
from vreg_shared.auth_method import AuthMethod, IdentityTokenNeed, UsableFor
from vreg_shared.catalogue import catalogue
from vreg_shared.clock import SystemClock
from vreg_shared.egress import EgressPolicy
from vreg_shared.providers.aws.auth_methods import AccessKey, AssumeRole
from vreg_shared.secret import Secret
from vreg_shared.settings import EgressSettings
from vreg_token_broker.exchange import (
    Exchange,
    ExchangeOrder,
    ExchangeWorld,
    IdentityTokens,
    NoIdentityTokens,
    Outcome,
    Refused,
    Unavailable,
)
from vreg_token_broker.exchanges import find_exchanges
from vreg_token_broker.trust_file import write_trust_file

IDENTITY = "01JDEXAMPLEEXAMPLEEXAMPLE0"


class Signs:
    """An issuer's tokens; the first ones as `changes` say, one after the other."""

    def __init__(self, own: TestIssuer, *changes: Mapping[str, object]) -> None:
        self._own = own
        self._changes = list(changes)
        self.asked: list[IdentityTokenNeed] = []

    async def token(self, identity_id: str, need: IdentityTokenNeed) -> Secret:
        self.asked.append(need)
        now = int(time.time())
        claims = {"sub": f"vreg:identity:{identity_id}", "aud": need.audience, "iat": now, "exp": now + 300}
        return Secret(self._own.token(**(claims | (self._changes.pop(0) if self._changes else {}))))


def exchange_through(
    world: Clouds,
    folder: Path,
    *,
    environment: Mapping[str, str] | None = None,
    identity_tokens: IdentityTokens | None = None,
) -> Exchange:
    """Return the broker's own AWS exchange, set up as an operator would behind this gateway."""
    settings = EgressSettings(
        https_proxy=Secret(world.gateway_url), ca_bundle=world.ca_bundle, no_proxy="127.0.0.1"
    )
    policy = EgressPolicy.from_settings(settings)
    made = ExchangeWorld(
        SystemClock(),
        policy,
        str(write_trust_file(folder, policy.ca_pem)),
        identity_tokens=identity_tokens or NoIdentityTokens(),
        environment=environment or {},
    )
    return find_exchanges(catalogue(), made)["aws"]


def by_key(key: MadeKey) -> AccessKey:
    token = Secret(key.session_token) if key.session_token is not None else None
    return AccessKey(
        access_key_id=key.access_key_id,
        secret_access_key=Secret(key.secret_access_key),
        session_token=token,
    )


def by_role(scene: Scene, **changes: object) -> AssumeRole:
    known = {
        "access_key_id": scene.key.access_key_id,
        "secret_access_key": Secret(scene.key.secret_access_key),
        "role_arn": scene.role_arn,
    }
    return AssumeRole.model_validate(known | changes)


def order(
    method: AuthMethod, host: str, external_id: str = EXTERNAL_ID, usable_for: UsableFor | None = None
) -> ExchangeOrder:
    kind = catalogue().kind_owning(host)
    assert kind is not None
    return ExchangeOrder(IDENTITY, external_id, method, kind, host, usable_for)


def refused(outcome: Outcome) -> Refused:
    assert isinstance(outcome, Refused), outcome
    return outcome


def unavailable(outcome: Outcome) -> Unavailable:
    assert isinstance(outcome, Unavailable), outcome
    return outcome
