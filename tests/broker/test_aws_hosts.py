"""From a registry's host to the APIs that are asked for its token: every partition, every form of a host."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.broker.aws_climbs import exchange_through, order
from tests.clouds.aws.policy import may_assume, may_pull
from tests.clouds.clouds import Clouds, clouds
from tests.clouds.scene import ACCOUNT, EXTERNAL_ID
from vreg_shared.egress import EgressPolicy
from vreg_shared.providers.aws.auth_methods import AssumeRole
from vreg_shared.providers.aws.hosts import place_of
from vreg_shared.secret import Secret
from vreg_token_broker.exchange import Issued
from vreg_token_broker.exchanges.aws.client import AwsClient, Route

# registry's host, its API, STS, and the domain both are in. Sources: AWS's list of endpoints; boto3 1.44.5.
ROWS = [
    ("dkr.ecr.us-west-2.amazonaws.com", "api.ecr", "sts", "us-west-2.amazonaws.com"),
    ("dkr-ecr.eu-west-1.on.aws", "api.ecr", "sts", "eu-west-1.amazonaws.com"),
    ("dkr.ecr-fips.us-east-1.amazonaws.com", "ecr-fips", "sts-fips", "us-east-1.amazonaws.com"),
    ("dkr-ecr-fips.us-west-2.on.aws", "ecr-fips", "sts-fips", "us-west-2.amazonaws.com"),
    ("dkr.ecr.cn-north-1.amazonaws.com.cn", "api.ecr", "sts", "cn-north-1.amazonaws.com.cn"),
    ("dkr-ecr.cn-north-1.on.amazonwebservices.com.cn", "api.ecr", "sts", "cn-north-1.amazonaws.com.cn"),
    ("dkr.ecr.us-gov-west-1.amazonaws.com", "api.ecr", "sts", "us-gov-west-1.amazonaws.com"),
    ("dkr-ecr.us-gov-east-1.on.aws", "api.ecr", "sts", "us-gov-east-1.amazonaws.com"),
    # In GovCloud every STS is a FIPS one, under the usual name.
    ("dkr.ecr-fips.us-gov-west-1.amazonaws.com", "ecr-fips", "sts", "us-gov-west-1.amazonaws.com"),
    ("dkr.ecr.eusc-de-east-1.amazonaws.eu", "api.ecr", "sts", "eusc-de-east-1.amazonaws.eu"),
    ("dkr-ecr.eusc-de-east-1.on.amazonwebservices.eu", "api.ecr", "sts", "eusc-de-east-1.amazonaws.eu"),
    ("dkr.ecr.us-iso-east-1.c2s.ic.gov", "api.ecr", "sts", "us-iso-east-1.c2s.ic.gov"),
    ("dkr.ecr.us-isob-east-1.sc2s.sgov.gov", "api.ecr", "sts", "us-isob-east-1.sc2s.sgov.gov"),
    ("dkr.ecr.eu-isoe-west-1.cloud.adc-e.uk", "api.ecr", "sts", "eu-isoe-west-1.cloud.adc-e.uk"),
    ("dkr.ecr.us-isof-south-1.csp.hci.ic.gov", "api.ecr", "sts", "us-isof-south-1.csp.hci.ic.gov"),
]
TABLE = [(host, f"{api}.{domain}", f"{sts}.{domain}") for host, api, sts, domain in ROWS]
CLIENT = AwsClient(Route(EgressPolicy()))


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[Clouds]:
    async with clouds(tmp_path / "clouds") as running:
        yield running


@pytest.mark.parametrize(("host", "api", "sts"), TABLE, ids=[row[0] for row in TABLE])
def test_a_host_leads_to_the_apis_of_its_region_and_partition(host: str, api: str, sts: str) -> None:
    place = place_of(f"{ACCOUNT}.{host}")

    assert CLIENT.endpoint("ecr", place) == f"https://{api}"
    assert CLIENT.endpoint("sts", place) == f"https://{sts}"


def test_fips_is_for_hosts_that_say_so_and_never_a_setting() -> None:
    for host, api, sts in TABLE:
        assert ("fips" in api) == ("fips" in host)
        assert "fips" not in sts or "fips" in host


@pytest.mark.parametrize("host", ["public.ecr.aws", "ecr-public.aws.com"])
def test_ecr_public_is_always_asked_in_us_east_1(host: str) -> None:
    place = place_of(host)

    assert CLIENT.endpoint("ecr-public", place) == "https://api.ecr-public.us-east-1.amazonaws.com"
    assert CLIENT.endpoint("sts", place) == "https://sts.us-east-1.amazonaws.com"


@pytest.mark.parametrize(("host", "api", "sts"), TABLE, ids=[row[0] for row in TABLE])
async def test_the_climb_works_under_those_very_names(
    world: Clouds, tmp_path: Path, host: str, api: str, sts: str
) -> None:
    partition = place_of(f"{ACCOUNT}.{host}").partition.name
    key = world.aws.add_user(ACCOUNT, "broker", allow=may_assume("*"), partition=partition)
    role = world.aws.add_role(
        ACCOUNT,
        "pull",
        trusts=(key.arn,),
        external_id=EXTERNAL_ID,
        allow=may_pull(),
        partition=partition,
    )
    method = AssumeRole(
        access_key_id=key.access_key_id, secret_access_key=Secret(key.secret_access_key), role_arn=role
    )

    outcome = await exchange_through(world, tmp_path).lease_for(order(method, f"{ACCOUNT}.{host}"))

    assert isinstance(outcome, Issued), outcome
    assert [entry.host for entry in world.log.entries()] == [sts, api]
