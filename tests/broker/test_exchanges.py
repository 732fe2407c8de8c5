"""Every declared provider can be exchanged for, and a cloud is one module."""

from collections.abc import Mapping

import pytest

from tests.broker.world import HOST, PASSWORD, USABLE_FOR
from tests.support.clock import ManualClock
from vreg_shared.auth_method import UsableFor
from vreg_shared.catalogue import Catalogue, catalogue
from vreg_shared.egress import EgressPolicy
from vreg_shared.messages.identity import IdentityRecord, seal_context
from vreg_shared.operator_grants import OperatorGrants
from vreg_shared.provider import MethodExample, Presentation, Provider
from vreg_shared.refusals import Refusal
from vreg_shared.sealing import SealingKey, seal
from vreg_token_broker.exchange import Exchange, ExchangeOrder, ExchangeWorld, Issued, Refused, outcome_of
from vreg_token_broker.exchanges import MissingExchangeError, find_exchanges
from vreg_token_broker.lease_book import Plan
from vreg_token_broker.orders import Orders

EXAMPLES = [example for provider in catalogue().providers for example in provider.examples]


def exchanges() -> Mapping[str, Exchange]:
    return find_exchanges(catalogue(), ExchangeWorld(ManualClock(), EgressPolicy()))


def test_every_provider_has_an_exchange() -> None:
    assert set(exchanges()) == {provider.name for provider in catalogue().providers}


def test_a_provider_without_an_exchange_is_named() -> None:
    stranger = Provider(name="nowhere", title="Nowhere", kinds=(), methods=(), usable_for=UsableFor)
    with pytest.raises(MissingExchangeError, match="nowhere"):
        find_exchanges(Catalogue((stranger,)), ExchangeWorld(ManualClock(), EgressPolicy()))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.method.tag)
def test_every_example_becomes_an_order(example: MethodExample) -> None:
    key, method = SealingKey.generate(), example.method
    usable_for, secrets = example.usable_for.model_dump(mode="json"), method.secrets_json()
    context = seal_context("idn1", method.tag, usable_for, 1)
    record = IdentityRecord(
        id="idn1",
        name="example",
        method=method.tag,
        settings=method.plain_settings(),
        usable_for=usable_for,
        external_id="external",
        sealed_secrets=seal(secrets, key.public, context) if secrets is not None else None,
    )
    plan = Plan("scope", record, catalogue().kind(example.kind), (example.host,))
    grants = OperatorGrants(frozenset({method.tag}), issuer_url="https://registry.example.com/oidc")
    order = Orders(catalogue(), key, ManualClock(), grants).order(plan)
    assert isinstance(order, ExchangeOrder)
    assert order.method == method


def test_settings_that_no_longer_fit_are_refused_without_what_they_hold() -> None:
    key = SealingKey.generate()
    secrets = PASSWORD.secrets_json()
    assert secrets is not None
    record = IdentityRecord(
        id="idn1",
        name="example",
        method="aws.access_key",
        settings={"access_key_id": "canary-in-settings"},
        usable_for=USABLE_FOR,
        external_id="external",
        sealed_secrets=seal(secrets, key.public, seal_context("idn1", "aws.access_key", USABLE_FOR, 1)),
    )
    refused = Orders(catalogue(), key, ManualClock(), OperatorGrants()).order(
        Plan("scope", record, catalogue().kind("ecr"), (HOST,))
    )
    assert isinstance(refused, Refused)
    assert refused.reason == "settings_invalid"
    assert "canary" not in repr(refused)


async def test_a_password_is_a_credential_already() -> None:
    order = ExchangeOrder("idn1", "", PASSWORD, catalogue().kind("oci"), "harbor.example.com")
    outcome = await exchanges()["basic"].lease_for(order)
    assert isinstance(outcome, Issued)
    assert outcome.credential.presentation is Presentation.REALM
    assert outcome.not_after is None


@pytest.mark.parametrize(("provider", "kind", "host"), [("aws", "ecr", HOST), ("basic", "oci", "h.example")])
async def test_a_method_of_another_cloud_is_refused(provider: str, kind: str, host: str) -> None:
    other = next(example.method for example in EXAMPLES if not example.method.tag.startswith(provider))
    order = ExchangeOrder("idn1", "", other, catalogue().kind(kind), host)
    outcome = await exchanges()[provider].lease_for(order)
    assert isinstance(outcome, Refused)
    assert outcome.is_final


@pytest.mark.parametrize(
    "secret",
    [
        "IQoJb3JpZ2luX2Vj" + "Aa1+/" * 60,
        "ya29.a0AfH6SMB-made-up",
        "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl",
        "-----BEGIN PRIVATE KEY-----\nMIIEvQ\n-----END PRIVATE KEY-----",
    ],
)
@pytest.mark.parametrize("before", [0, 400, 950, 990])
def test_what_a_cloud_quotes_of_our_secrets_is_masked_wherever_it_stands(secret: str, before: int) -> None:
    said = f"{'x ' * (before // 2)}The canonical string should have been 'x-amz-security-token:{secret}'"
    refusal = Refusal("sts:AssumeRole", "SignatureDoesNotMatch", said, 403)
    outcome = outcome_of(catalogue().provider_of_kind("ecr").refusals, refusal, ManualClock().now())
    assert isinstance(outcome, Refused)
    assert secret[:20] not in outcome.detail
