"""What lets a principal read one repository, as a person would paste it."""

import json

import pytest

from vreg_shared.catalogue import catalogue
from vreg_shared.provider import Reader

ECR = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"


def granted(kind: str, host: str, repository: str, principal: str) -> dict[str, str]:
    steps = catalogue().kind(kind).read_grant(Reader(host, repository, principal))
    return {step.file or str(number): step.text for number, step in enumerate(steps)}


def test_a_role_of_the_same_account_needs_its_own_policy_alone() -> None:
    told = granted("ecr", ECR, "team/app", "arn:aws:sts::123456789012:assumed-role/vreg-pull/vreg")
    statements = json.loads(told["pull.json"])["Statement"]
    assert statements[0]["Action"] == "ecr:GetAuthorizationToken"
    assert statements[1]["Resource"] == "arn:aws:ecr:eu-west-1:123456789012:repository/team/app"
    assert "put-role-policy --role-name vreg-pull" in told["1"]
    assert "repository.json" not in told


@pytest.mark.parametrize(
    ("principal", "named"),
    [
        ("arn:aws:sts::999999999999:assumed-role/puller/vreg", "arn:aws:iam::999999999999:role/puller"),
        ("arn:aws:iam::999999999999:user/team/ci", "arn:aws:iam::999999999999:user/team/ci"),
        ("AKIAIOSFODNN7EXAMPLE", "PRINCIPAL_ARN"),
    ],
)
def test_a_principal_of_another_account_needs_the_repositorys_policy_too(principal: str, named: str) -> None:
    told = granted("ecr", ECR, "team/app", principal)
    assert json.loads(told["repository.json"])["Statement"][0]["Principal"] == {"AWS": named}
    assert "--registry-id 123456789012 --repository-name team/app" in told["3"]


@pytest.mark.parametrize(
    ("host", "repository", "principal", "parts"),
    [
        (
            "europe-west3-docker.pkg.dev",
            "prod/images/app",
            "vreg@prod.iam.gserviceaccount.com",
            ("policy-binding images", "europe-west3", "=prod", "serviceAccount:vreg@prod"),
        ),
        (
            "eu.gcr.io",
            "example.com/prod/app",
            "principal://iam.googleapis.com/x/subject/s",
            ("policy-binding eu.gcr.io", "--location=europe", "=example.com:prod", "member=principal://"),
        ),
        ("europe-west3-docker.pkg.dev", "prod", "", ("policy-binding REPOSITORY", "=prod", "=MEMBER")),
    ],
)
def test_google_is_told_location_project_and_repository(
    host: str, repository: str, principal: str, parts: tuple[str, ...]
) -> None:
    (text,) = granted("gar", host, repository, principal).values()
    assert [part for part in parts if part not in text] == []


def test_azure_is_told_both_modes_and_the_cloud() -> None:
    principal = "application a, object 11112222-bbbb-3333-cccc-4444dddd5555, tenant t"
    told = granted("acr", "contoso.azurecr.cn", "team/app", principal)
    assert "az cloud set --name AzureChinaCloud" in told["0"]
    assert "--role AcrPull" in told["0"]
    assert "StringEqualsIgnoreCase" in told["1"]
    assert "team/app" in told["1"]
    assert all("11112222-bbbb-3333-cccc-4444dddd5555" in text for text in told.values())


def test_nothing_is_told_where_nothing_is_known() -> None:
    assert granted("oci", "harbor.example.com", "team/app", "robot") == {}
