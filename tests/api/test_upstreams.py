import datetime as dt
import json
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.support.api_world import ASSUME_ROLE, ECR_HOST, PASSWORD, ROOT, Api
from vreg_api.upstreams.schemas import UpstreamChange
from vreg_shared.messages.upstream import UpstreamRecord
from vreg_shared.private_ca import fingerprints

HUB = {"name": "hub", "kind": "oci", "host": "registry-1.docker.io"}
HARBOR = {"name": "harbor", "kind": "oci", "host": "harbor.example.com"}


def authority() -> tuple[str, str]:
    """Return a certificate and its private key, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test authority")])
    start = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + dt.timedelta(days=3650))
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM).decode(), private.decode()


async def ecr(api: Api, **fields: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    identity = await api.create("identities", ASSUME_ROLE)
    body = {"name": "prod", "kind": "ecr", "host": ECR_HOST, "identity_id": identity["id"]}
    return await api.create("upstreams", {**body, **fields})


async def refused(api: Api, body: dict[str, Any], field: str) -> str:
    """Try to create it; return the code, having seen that it is `field` that is blamed."""
    answer = await api.call("POST", "/upstreams", json=body)
    assert answer.status_code == 422, answer.text
    problem = answer.json()
    assert problem["errors"][0]["field"] == field, problem
    code: str = problem["errors"][0]["code"]
    return code


async def test_an_upstream_is_created_read_listed_changed_and_deleted(any_api: Api) -> None:
    created = await ecr(
        any_api,
        repository_prefix="/team-a/",
        tag_validity_seconds=0,
        stale_for=["auth", "network"],
        max_stale_seconds=60,
    )
    assert created["repository_prefix"] == "team-a"
    assert (created["stale_for"], created["max_stale_seconds"]) == (["network", "auth"], 60)
    path = f"/upstreams/{created['id']}"
    assert (await any_api.call("GET", path)).json() == created
    assert (await any_api.call("GET", "/upstreams")).json()["items"] == [created]
    changed = await any_api.change("upstreams", created, {"enabled": False, "description": "off for now"})
    assert changed.json()["enabled"] is False
    assert changed.json()["cache_epoch"] == 0
    assert (await any_api.call("DELETE", path)).status_code == 204
    assert (await any_api.call("GET", path)).status_code == 404


async def test_the_record_says_all_that_brokers_and_proxies_need(api: Api) -> None:
    created = await ecr(api)
    found = await api.world.upstreams.read(created["id"], ROOT)
    expected = {name: created[name] for name in UpstreamRecord.model_fields}
    assert found.record().model_dump(mode="json") == expected


async def test_a_stale_policy_is_changed_as_a_whole_and_given_no_end_by_null(any_api: Api) -> None:
    created = await ecr(any_api, max_stale_seconds=3600)
    assert created["stale_for"] == ["network", "server_error", "throttled"]
    change = {"stale_for": ["deleted", "deleted"], "max_stale_seconds": None}
    changed = (await any_api.change("upstreams", created, change)).json()
    assert (changed["stale_for"], changed["max_stale_seconds"]) == (["deleted"], None)
    assert changed["cache_epoch"] == 0
    same = await any_api.change("upstreams", changed, {"stale_for": ["deleted"]})
    assert same.json()["version"] == changed["version"]


@pytest.mark.parametrize(
    ("field", "value"),
    [("stale_for", ["sometimes"]), ("stale_for", "network"), ("max_stale_seconds", -1)],
)
async def test_a_stale_policy_of_other_words_is_refused(api: Api, field: str, value: object) -> None:
    body = {"name": "hub", "kind": "oci", "host": "registry-1.docker.io", field: value}
    assert (await api.call("POST", "/upstreams", json=body)).status_code == 422


async def test_a_host_is_kept_in_lower_case(api: Api) -> None:
    assert (await ecr(api, host=ECR_HOST.upper()))["host"] == ECR_HOST


@pytest.mark.parametrize(
    "host",
    [
        f"{ECR_HOST}.evil.example",
        f"evil{ECR_HOST}",
        f"x.{ECR_HOST}",
        f"{ECR_HOST}.",
        f"{ECR_HOST}:443",
        f"https://{ECR_HOST}",
        f"{ECR_HOST}/",
        f"{ECR_HOST}\n",
        f"{ECR_HOST}@evil.example",
        "[::1]",
        "10.0.0.1",
        "12345678901.dkr.ecr.eu-west-1.amazonaws.com",
        "123456789012.dkrxecr.eu-west-1.amazonaws.com",
        "123456789012.dkr.ecr.eu-west-1.amazonawsxcom",
        "123456789012.dkr.ecr.cn-north-1.amazonaws.com",
        "\uff11\uff12\uff13456789012.dkr.ecr.eu-west-1.amazonaws.com",
        "evil.example",
        "a" * 254,
    ],
)
async def test_a_lookalike_of_an_ecr_host_is_refused_with_a_clear_text(api: Api, host: str) -> None:
    identity = await api.create("identities", ASSUME_ROLE)
    body = {"name": "x", "kind": "ecr", "host": host, "identity_id": identity["id"]}
    answer = await api.call("POST", "/upstreams", json=body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "host"
    assert (await api.call("GET", "/upstreams")).json()["items"] == []


@pytest.mark.parametrize(
    "host",
    [
        "https://harbor.example.com",
        "harbor.example.com/",
        "user@harbor.example.com",
        "harbor.example.com:0",
        "harbor.example.com:99999",
        "harbor..example",
        "harbor.example.com.",
        " harbor.example.com",
        "a b",
        "harbor.example.com\n",
        "härbor.example.com",
        "harbor_x.example.com",
        "1.2.3.4.5",
        "0x7f.1",
        "a" * 254,
    ],
)
async def test_what_is_no_host_is_refused_for_any_registry(api: Api, host: str) -> None:
    await refused(api, {"name": "x", "kind": "oci", "host": host}, "host")


async def test_a_generic_upstream_may_name_a_port(api: Api) -> None:
    created = await api.create("upstreams", {**HARBOR, "host": "Harbor.Example.com:8443"})
    assert created["host"] == "harbor.example.com:8443"


async def test_a_host_of_a_cloud_is_not_taken_as_a_generic_one(api: Api) -> None:
    code = await refused(api, {"name": "x", "kind": "oci", "host": ECR_HOST}, "host")
    assert code == "host_of_other_kind"


async def test_only_kinds_that_allow_it_are_pulled_from_anonymously(api: Api) -> None:
    assert (await api.create("upstreams", HUB))["identity_id"] is None
    code = await refused(api, {"name": "x", "kind": "ecr", "host": ECR_HOST}, "identity_id")
    assert code == "identity_required"


async def test_an_identity_must_exist_fit_the_kind_and_be_usable_for_the_host(api: Api) -> None:
    aws = await api.create("identities", ASSUME_ROLE)
    password = await api.create("identities", PASSWORD)
    unknown = {"name": "x", "kind": "ecr", "host": ECR_HOST, "identity_id": "01KAS1G6V5X4T3NQ7R8M2C9B0Z"}
    assert await refused(api, unknown, "identity_id") == "unknown"
    wrong = {"name": "x", "kind": "ecr", "host": ECR_HOST, "identity_id": password["id"]}
    assert await refused(api, wrong, "identity_id") == "method_refused"
    other_account = "999999999999.dkr.ecr.eu-west-1.amazonaws.com"
    elsewhere = {"name": "x", "kind": "ecr", "host": other_account, "identity_id": aws["id"]}
    assert await refused(api, elsewhere, "identity_id") == "host_not_permitted"
    evil = {"name": "x", "kind": "oci", "host": "evil.example.com", "identity_id": password["id"]}
    assert await refused(api, evil, "identity_id") == "host_not_permitted"


async def test_an_upstream_is_not_re_pointed_where_its_identity_may_not_be_used(any_api: Api) -> None:
    identity = await any_api.create("identities", PASSWORD)
    created = await any_api.create("upstreams", {**HARBOR, "identity_id": identity["id"]})
    certificate, _ = authority()
    for change in (
        {"host": "evil.example.com"},
        {"host": "harbor.example.com:8443"},
        {"token_realm": "https://evil.example.com/token"},
        {"token_realm": "https://harbor.example.com.evil.example/token"},
        {"private_ca": certificate},
    ):
        answer = await any_api.change("upstreams", created, change)
        assert (answer.status_code, answer.json()["code"]) == (422, "credential_required"), change
    other_kind = await any_api.change("upstreams", created, {"kind": "ecr", "host": ECR_HOST})
    assert (other_kind.status_code, other_kind.json()["code"]) == (422, "validation_failed")
    assert (await any_api.call("GET", f"/upstreams/{created['id']}")).json() == created


def test_every_field_of_an_upstream_is_known_to_send_a_secret_elsewhere_or_not() -> None:
    """A new field must be put on one side, and if it sends a secret elsewhere, into the test above."""
    elsewhere = {"kind", "host", "token_realm", "private_ca"}
    of_another = {"identity_id"}
    not_elsewhere = {"name", "description", "repository_prefix", "enabled"}
    not_elsewhere |= {"tag_validity_seconds", "stale_for", "max_stale_seconds", "probe"}
    assert UpstreamChange.model_fields.keys() == elsewhere | of_another | not_elsewhere


async def test_a_private_ca_is_taken_when_the_identity_names_its_certificates(any_api: Api) -> None:
    certificate, _ = authority()
    (known,) = fingerprints(certificate)
    written = ":".join(known[index : index + 2] for index in range(0, len(known), 2)).upper()
    usable_for = {"hosts": ["harbor.example.com"], "private_ca_sha256": [written]}
    identity = await any_api.create("identities", {**PASSWORD, "usable_for": usable_for})
    assert identity["usable_for"]["private_ca_sha256"] == [known]
    wish = {**HARBOR, "identity_id": identity["id"], "private_ca": certificate}
    created = await any_api.create("upstreams", wish)

    other, _ = authority()
    for changed in (other, certificate + other):
        answer = await any_api.change("upstreams", created, {"private_ca": changed})
        assert answer.json()["errors"][0]["code"] == "private_ca_not_permitted"
        assert str(min(fingerprints(other))) in answer.json()["detail"]
    widened = {"hosts": ["harbor.example.com"], "private_ca_sha256": [known, min(fingerprints(other))]}
    answer = await any_api.change("identities", identity, {"usable_for": widened})
    assert (answer.status_code, answer.json()["code"]) == (422, "credential_required")
    secret = {"auth_method": {"method": "basic.password", "password": "again"}}
    answer = await any_api.change("identities", identity, {"usable_for": widened, **secret})
    assert answer.status_code == 200
    assert (await any_api.change("upstreams", created, {"private_ca": other})).status_code == 200
    narrowed = {"usable_for": {"hosts": ["harbor.example.com"]}, **secret}
    answer = await any_api.change("identities", answer.json(), narrowed)
    assert (answer.status_code, answer.json()["code"]) == (409, "in_use")


@pytest.mark.parametrize(
    "realm",
    [
        "http://harbor.example.com/token",
        "https://user:canary@harbor.example.com/token",
        "ftp://x",
        "token",
        "https://harbor.example.com/token?x=1",
        "https://harbor.example.com/#",
        "https://",
        "//x/token",
        "https://Harbor.example.com/token",
        "https://harbor.example.com\\@evil.example/",
        "https://[::1",
        "",
        "https://harbor.example.com:99999/token",
        "https://harbor.example.com/to ken",
        "javascript:alert(1)",
    ],
)
async def test_a_token_realm_is_an_https_url_and_nothing_else(api: Api, realm: str) -> None:
    answer = await api.call("POST", "/upstreams", json={**HARBOR, "token_realm": realm})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "token_realm"
    assert "canary" not in answer.text


async def test_a_token_realm_may_be_where_the_secret_may_go(api: Api) -> None:
    usable_for = {"hosts": ["harbor.example.com", "auth.example.com"]}
    identity = await api.create("identities", {**PASSWORD, "usable_for": usable_for})
    for index, realm in enumerate(
        ("https://auth.example.com/token", "https://harbor.example.com/service/token")
    ):
        body = {**HARBOR, "name": str(index), "identity_id": identity["id"], "token_realm": realm}
        assert (await api.create("upstreams", body))["token_realm"] == realm


async def test_a_kind_without_token_endpoint_takes_none(api: Api) -> None:
    created = await ecr(api)
    answer = await api.change("upstreams", created, {"token_realm": f"https://{ECR_HOST}/token"})
    assert answer.status_code == 422


async def test_a_private_ca_is_kept_as_certificates_and_nothing_else(api: Api) -> None:
    certificate, _ = authority()
    created = await api.create("upstreams", {**HARBOR, "private_ca": f"# our CA\n{certificate}\nthe end"})
    assert created["private_ca"] == certificate


async def test_a_private_key_pasted_as_a_ca_is_refused_and_not_repeated(api: Api) -> None:
    certificate, key = authority()
    answer = await api.call("POST", "/upstreams", json={**HARBOR, "private_ca": certificate + key})
    assert answer.status_code == 422
    assert key.splitlines()[1] not in answer.text


@pytest.mark.parametrize(
    "text",
    ["", "no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "a" * 70000],
)
async def test_what_is_no_certificate_is_refused(api: Api, text: str) -> None:
    await refused(api, {**HARBOR, "private_ca": text}, "private_ca")


@pytest.mark.parametrize("change", [{"repository_prefix": "other"}, {"host": "quay.io"}], ids=json.dumps)
async def test_cached_content_is_not_trusted_once_it_would_come_from_elsewhere(
    api: Api, change: dict[str, Any]
) -> None:
    created = await api.create("upstreams", HUB)
    assert (await api.change("upstreams", created, change)).json()["cache_epoch"] == 1


async def test_a_purge_is_a_new_epoch(any_api: Api) -> None:
    created = await any_api.create("upstreams", HUB)
    purged = await any_api.call("POST", f"/upstreams/{created['id']}/purge")
    assert purged.status_code == 200
    assert purged.json()["cache_epoch"] == 1
    assert purged.json()["version"] == 2
    assert (await any_api.call("POST", "/upstreams/01KAS1G6V5X4T3NQ7R8M2C9B0Z/purge")).status_code == 404


async def test_an_upstream_in_a_registry_is_not_deleted_and_says_where(any_api: Api) -> None:
    upstream = await any_api.create("upstreams", HUB)
    body = {"slug": "team", "memberships": [{"upstream_id": upstream["id"]}]}
    registry = await any_api.create("virtual_registries", body)
    answer = await any_api.call("DELETE", f"/upstreams/{upstream['id']}")
    assert answer.status_code == 409
    assert answer.json()["used_by"] == [{"noun": "virtual registry", "id": registry["id"], "name": "team"}]


async def test_null_makes_an_upstream_anonymous_where_that_is_allowed(api: Api) -> None:
    identity = await api.create("identities", PASSWORD)
    harbor = await api.create("upstreams", {**HARBOR, "identity_id": identity["id"]})
    assert (await api.change("upstreams", harbor, {"identity_id": None})).json()["identity_id"] is None
    created = await ecr(api)
    assert (await api.change("upstreams", created, {"identity_id": None})).status_code == 422
