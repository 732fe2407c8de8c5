from pathlib import Path

import pytest

from vreg_cli.environment import Addresses, service_environment, system_environment
from vreg_cli.home import Home
from vreg_shared.catalogue import catalogue
from vreg_shared.key_files import Service
from vreg_shared.settings import Listen

HOME = Home(Path("/home/vreg"))
ADDRESSES = Addresses(*(Listen(f"127.0.0.1:{port}") for port in (1, 2, 3, 4)))
INHERITED = {
    "PATH": "/bin",
    "HTTPS_PROXY": "http://127.0.0.1:3128",
    "no_proxy": "internal",
    "VREG_CA_BUNDLE": "/ca.pem",
    "VREG_LOG_LEVEL": "debug",
    "VREG_EGRESS_ALLOWED_CIDRS": "10.0.0.0/8",
    "VREG_DATABASE_URL": "postgresql+asyncpg://vreg:made-up@db/vreg",
    "VREG_API_TLS_KEY": "/api.key",
    "VREG_BROKER_ID": "b1",
    "VREG_PROXY_EXTERNAL_URL": "https://registry.example.com",
    "VREG_KEYS": "/elsewhere",
    "VREG_ISSUER_URL": "https://vreg.example.com/oidc",
    "VREG_TOKEN_FILES": "irsa=/var/run/token",
    "VREG_AMBIENT_METHODS": "aws.instance",
    "VREG_API_TOKEN": "made-up",
    "AWS_SECRET_ACCESS_KEY": "made-up",
    "PYTHONPATH": "/evil",
}


def environment(service: Service) -> dict[str, str]:
    return service_environment(service, HOME, ADDRESSES, 2, INHERITED)


@pytest.mark.parametrize("service", Service)
def test_a_service_sees_its_own_key_folder_and_what_all_share(service: Service) -> None:
    seen = environment(service)

    assert seen["VREG_KEYS"] == f"/home/vreg/keys/{service.value}"
    assert seen["VREG_PUBLIC_KEYS"] == "/home/vreg/keys/public"
    assert seen["VREG_NATS_URL"] == "nats://127.0.0.1:3"
    for name in ("PATH", "HTTPS_PROXY", "no_proxy", "VREG_CA_BUNDLE", "VREG_EGRESS_ALLOWED_CIDRS"):
        assert seen[name] == INHERITED[name]


@pytest.mark.parametrize("service", Service)
def test_cloud_keys_admin_tokens_and_foreign_modules_reach_nobody(service: Service) -> None:
    assert environment(service).keys() & {"AWS_SECRET_ACCESS_KEY", "PYTHONPATH", "VREG_API_TOKEN"} == set()


@pytest.mark.parametrize(
    ("name", "owner"),
    [
        ("VREG_DATABASE_URL", Service.API),
        ("VREG_API_TLS_KEY", Service.API),
        ("VREG_BROKER_ID", Service.TOKEN_BROKER),
        ("VREG_PROXY_EXTERNAL_URL", Service.PROXY),
    ],
)
def test_a_setting_reaches_its_owner_alone(name: str, owner: Service) -> None:
    assert [service for service in Service if name in environment(service)] == [owner]


@pytest.mark.parametrize("name", ["VREG_ISSUER_URL", "VREG_TOKEN_FILES", "VREG_AMBIENT_METHODS"])
def test_what_identities_may_use_is_no_business_of_a_proxy(name: str) -> None:
    seeing = [service for service in Service if name in environment(service)]

    assert seeing == [Service.API, Service.TOKEN_BROKER]


def test_the_database_lies_in_the_home_unless_another_is_named() -> None:
    seen = service_environment(Service.API, HOME, ADDRESSES, 2, {})

    assert seen["VREG_DATABASE_URL"] == "sqlite+aiosqlite:////home/vreg/api/vreg.db"
    assert environment(Service.API)["VREG_DATABASE_URL"] == INHERITED["VREG_DATABASE_URL"]


def test_a_program_without_settings_of_ours_sees_none() -> None:
    assert system_environment(INHERITED) == {"PATH": "/bin"}


PLATFORM = {
    "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://169.254.170.23/v1/credentials",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": "/var/run/token",
    "AWS_EC2_METADATA_DISABLED": "false",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://169.254.169.254",
    "GCE_METADATA_HOST": "metadata.google.internal",
    "IDENTITY_ENDPOINT": "http://localhost:42356/msi/token",
    "IDENTITY_HEADER": "made-up",
    "AWS_SECRET_ACCESS_KEY": "made-up",
    "AWS_WEB_IDENTITY_TOKEN_FILE": "/var/run/token",
    "GOOGLE_APPLICATION_CREDENTIALS": "/key.json",
    "AZURE_CLIENT_SECRET": "made-up",
}


def told(service: Service, methods: str) -> set[str]:
    inherited = INHERITED | PLATFORM | {"VREG_AMBIENT_METHODS": methods}
    seen = service_environment(service, HOME, ADDRESSES, 2, inherited)
    return seen.keys() & PLATFORM.keys()


@pytest.mark.parametrize(
    ("methods", "names"),
    [
        ("", set()),
        ("aws.access_key,nonsense", set()),
        (
            "aws.container",
            {"AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"},
        ),
        (
            "aws.instance, gcp.metadata",
            {"AWS_EC2_METADATA_DISABLED", "AWS_EC2_METADATA_SERVICE_ENDPOINT", "GCE_METADATA_HOST"},
        ),
        (
            "gcp.aws_federation",
            {name for name in PLATFORM if name.startswith(("AWS_CONTAINER_", "AWS_EC2_"))},
        ),
        ("azure.managed_identity", {"IDENTITY_ENDPOINT", "IDENTITY_HEADER"}),
    ],
)
def test_the_broker_alone_is_told_of_the_machine_what_permitted_methods_need(
    methods: str, names: set[str]
) -> None:
    assert told(Service.TOKEN_BROKER, methods) == names
    assert told(Service.API, methods) == told(Service.PROXY, methods) == set()


def test_every_ambient_method_says_what_it_needs_to_be_told() -> None:
    for method in catalogue().methods():
        assert bool(method.platform_variables) == method.is_ambient, method.tag
