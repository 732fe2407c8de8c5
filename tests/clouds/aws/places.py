"""Which AWS host names exist: partitions, their regions, and what is served under each name.

A name outside this table does not resolve. Written from the public endpoint tables, on purpose without
looking at vreg's own host grammar, so that the two can disagree.
"""

import re
from dataclasses import dataclass

REGIONS = {
    "aws": (
        "us-east-1",
        "us-east-2",
        "us-west-2",
        "eu-west-1",
        "eu-central-1",
        "ap-southeast-2",
        "me-south-1",
    ),
    "aws-cn": ("cn-north-1", "cn-northwest-1"),
    "aws-us-gov": ("us-gov-west-1", "us-gov-east-1"),
    "aws-eusc": ("eusc-de-east-1",),
    "aws-iso": ("us-iso-east-1",),
    "aws-iso-b": ("us-isob-east-1",),
    "aws-iso-e": ("eu-isoe-west-1",),
    "aws-iso-f": ("us-isof-south-1",),
}
SUFFIXES = {
    "aws": ("amazonaws.com", "on.aws", "api.aws"),
    "aws-cn": ("amazonaws.com.cn", "on.amazonwebservices.com.cn", "api.amazonwebservices.com.cn"),
    "aws-us-gov": ("amazonaws.com", "on.aws", "api.aws"),
    "aws-eusc": ("amazonaws.eu", "on.amazonwebservices.eu", "api.amazonwebservices.eu"),
    "aws-iso": ("c2s.ic.gov", "", ""),
    "aws-iso-b": ("sc2s.sgov.gov", "", ""),
    "aws-iso-e": ("cloud.adc-e.uk", "", ""),
    "aws-iso-f": ("csp.hci.ic.gov", "", ""),
}
"""Of a partition's hosts, of its dual-stack registries and APIs; isolated ones have none of the latter."""
PUBLIC_REGISTRIES = ("public.ecr.aws", "ecr-public.aws.com")
PUBLIC_CDN = "d5l0dvt14r5h8.cloudfront.net"
"""Where ECR Public's blobs are is not documented: a CDN of Amazon's own is what is generally seen."""
_FIPS_REGIONS = re.compile(r"us-(?!iso).+")


@dataclass(frozen=True, slots=True)
class Place:
    """A host of AWS: which service answers there, and where it stands."""

    service: str
    """`sts`, `ecr-api`, `ecr` (the registry), `s3` (where layers lie), and of ECR Public `ecr-public-api`,
    `ecr-public` and `cloudfront`."""
    partition: str
    region: str
    account: str = ""
    """Of a registry."""
    storage_host: str = ""
    """Of a registry: where its blobs are redirected to."""


def find_place(host: str) -> Place | None:
    """Return what a lower-case host name leads to, or None if AWS has no such name."""
    return _PLACES.get(host) or _registry(host)


def layer_bucket(partition: str, region: str, *, is_dual_stack: bool = False) -> str:
    """Return the host that holds a region's layers."""
    stack = ".dualstack" if is_dual_stack else ""
    return f"prod-{region}-starport-layer-bucket.s3{stack}.{region}.{SUFFIXES[partition][0]}"


def registry_host(account: str, region: str) -> str:
    """Return the usual host of a private registry."""
    partition = partition_of(region)
    return f"{account}.dkr.ecr.{region}.{SUFFIXES[partition][0]}"


def partition_of(region: str) -> str:
    """Return the partition of a region; raise ValueError for a region that is not in the table."""
    for partition, regions in REGIONS.items():
        if region in regions:
            return partition
    raise ValueError(f"{region} is not one of the emulated regions: {REGIONS}")


def _shared_places() -> dict[str, Place]:
    places = {"sts.amazonaws.com": Place("sts", "aws", "us-east-1"), **_public_places()}
    for partition, regions in REGIONS.items():
        suffix, _, api = SUFFIXES[partition]
        for region in regions:
            sts, ecr = Place("sts", partition, region), Place("ecr-api", partition, region)
            places |= {
                f"sts.{region}.{suffix}": sts,
                f"api.ecr.{region}.{suffix}": ecr,
                **({f"ecr.{region}.{api}": ecr} if api else {}),
                layer_bucket(partition, region): Place("s3", partition, region),
                layer_bucket(partition, region, is_dual_stack=True): Place("s3", partition, region),
            }
            if _FIPS_REGIONS.fullmatch(region):
                places |= {f"sts-fips.{region}.{suffix}": sts, f"ecr-fips.{region}.{suffix}": ecr}
    return places


def _public_places() -> dict[str, Place]:
    """Its API has names in two regions; boto3 makes up others, which do not resolve."""
    apis = {
        name: Place("ecr-public-api", "aws", region)
        for region in ("us-east-1", "us-west-2")
        for name in (f"api.ecr-public.{region}.amazonaws.com", f"ecr-public.{region}.api.aws")
    }
    registries = {
        host: Place("ecr-public", "aws", "us-east-1", storage_host=PUBLIC_CDN) for host in PUBLIC_REGISTRIES
    }
    return {**apis, **registries, PUBLIC_CDN: Place("cloudfront", "aws", "us-east-1")}


def _registry(host: str) -> Place | None:
    account, dot, rest = host.partition(".")
    if not dot or re.fullmatch(r"[0-9]{12}", account) is None:
        return None
    found = _REGISTRIES.get(rest)
    if found is None:
        return None
    return Place("ecr", found.partition, found.region, account, found.storage_host)


def _registry_places() -> dict[str, Place]:
    places: dict[str, Place] = {}
    for partition, regions in REGIONS.items():
        suffix, dual, _ = SUFFIXES[partition]
        for region in regions:
            single = Place("ecr", partition, region, "", layer_bucket(partition, region))
            double = Place("ecr", partition, region, "", layer_bucket(partition, region, is_dual_stack=True))
            places |= {f"dkr.ecr.{region}.{suffix}": single}
            if dual:
                places |= {f"dkr-ecr.{region}.{dual}": double}
            if _FIPS_REGIONS.fullmatch(region):
                places |= {
                    f"dkr.ecr-fips.{region}.{suffix}": single,
                    f"dkr-ecr-fips.{region}.{dual}": double,
                }
    return places


_PLACES = _shared_places()
_REGISTRIES = _registry_places()
