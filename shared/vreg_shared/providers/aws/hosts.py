"""The grammar of ECR hosts: account and region stand in a private one's name, ECR Public has two names.

Sources: the patterns of amazon-ecr-credential-helper and cloud-provider-aws; partitions of botocore.
Always matched whole: an unanchored copy of this pattern sends credentials to `….amazonaws.com.evil.example`.
"""

import re
from dataclasses import dataclass
from typing import Final, Self

from vreg_shared.provider import InvalidHostError

_PRIVATE: Final = re.compile(
    r"(?P<account>\d{12})\.dkr(?P<joint>[.-])ecr(?P<fips>-fips)?\.(?P<region>[a-z0-9][a-z0-9-]*)\."
    r"(?P<suffix>amazonaws\.(?:com(?:\.cn)?|eu)"
    r"|on\.(?:aws|amazonwebservices\.com\.cn|amazonwebservices\.eu)"
    r"|sc2s\.sgov\.gov|c2s\.ic\.gov|cloud\.adc-e\.uk|csp\.hci\.ic\.gov)",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Partition:
    """One of AWS's separate clouds; `region` is the shape of its region names."""

    name: str
    suffix: str
    dual_stack_suffix: str | None
    region: re.Pattern[str]


def _partition(name: str, suffix: str, dual_stack: str | None, prefixes: str) -> Partition:
    return Partition(name, suffix, dual_stack, re.compile(rf"(?:{prefixes})-[a-z]+-\d+", re.ASCII))


PARTITIONS: Final = (
    _partition("aws", "amazonaws.com", "on.aws", "us|eu|ap|sa|ca|me|af|il|mx"),
    _partition("aws-cn", "amazonaws.com.cn", "on.amazonwebservices.com.cn", "cn"),
    _partition("aws-us-gov", "amazonaws.com", "on.aws", "us-gov"),
    _partition("aws-eusc", "amazonaws.eu", "on.amazonwebservices.eu", "eusc-de"),
    _partition("aws-iso", "c2s.ic.gov", None, "us-iso"),
    _partition("aws-iso-b", "sc2s.sgov.gov", None, "us-isob"),
    _partition("aws-iso-e", "cloud.adc-e.uk", None, "eu-isoe"),
    _partition("aws-iso-f", "csp.hci.ic.gov", None, "us-isof"),
)
"""Source: botocore data/partitions.json, read with boto3 1.44.5."""

PARTITION_NAMES: Final = tuple(partition.name for partition in PARTITIONS)
ECR_PUBLIC_HOSTS: Final = ("public.ecr.aws", "ecr-public.aws.com")
"""The second answers over IPv6 as well. Source: amazon-ecr-credential-helper."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where AWS's services are called: a region of a partition, at FIPS endpoints only if the host is one."""

    region: str
    partition: Partition
    fips: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EcrHost(Place):
    """What a private ECR host says about itself."""

    account: str
    dual_stack: bool

    @classmethod
    def parse(cls, host: str) -> Self:
        """Read a lower-case host; raise InvalidHostError unless the whole of it is a private ECR host."""
        match = _PRIVATE.fullmatch(host)
        if match is None:
            raise InvalidHostError("a private ECR host is <12 digits>.dkr.ecr.<region>.amazonaws.com")
        suffix, region = match["suffix"], match["region"]
        dual_stack = match["joint"] == "-"
        for partition in PARTITIONS:
            expected = partition.dual_stack_suffix if dual_stack else partition.suffix
            if expected == suffix and partition.region.fullmatch(region) is not None:
                return cls(
                    region=region,
                    partition=partition,
                    fips=match["fips"] is not None,
                    account=match["account"],
                    dual_stack=dual_stack,
                )
        raise InvalidHostError(f"the region {region} does not belong to the domain {suffix}")


def is_ecr_host(host: str) -> bool:
    """Whether the whole of a lower-case host is a private ECR registry."""
    try:
        EcrHost.parse(host)
    except InvalidHostError:
        return False
    return True


def is_ecr_public_host(host: str) -> bool:
    """Whether the whole of a lower-case host is ECR Public."""
    return host in ECR_PUBLIC_HOSTS


def place_of(host: str) -> Place:
    """Return where the services behind a lower-case ECR host are called; raise InvalidHostError."""
    return ECR_PUBLIC_PLACE if is_ecr_public_host(host) else EcrHost.parse(host)


def partition_named(name: str) -> Partition:
    """Return the partition of this name; raise KeyError."""
    return {partition.name: partition for partition in PARTITIONS}[name]


ECR_PUBLIC_PLACE: Final = Place("us-east-1", partition_named("aws"))
"""Wherever it is pulled from. https://docs.aws.amazon.com/general/latest/gr/ecr-public.html"""
