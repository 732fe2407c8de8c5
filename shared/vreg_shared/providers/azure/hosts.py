"""The grammar of Azure Container Registry's hosts, and the clouds they lie in.

Always matched whole. A host says the registry's name and cloud, never its tenant. Source of the forms:
https://learn.microsoft.com/azure/container-registry/container-registry-endpoint-reference
"""

import re
from dataclasses import dataclass
from typing import Final, Literal, Self

from vreg_shared.provider import InvalidHostError

CloudName = Literal["public", "us_gov", "china"]

# A label is at most 63 characters; the hash is of registries made with a domain name label.
_HOST: Final = re.compile(
    r"(?P<label>(?P<name>[a-z0-9]{5,50})(?:-(?P<hash>[a-z0-9]{4,32}))?)"
    r"(?:\.(?P<region>[a-z0-9]+)\.geo)?\.(?P<domain>azurecr\.(?:io|cn|us))",
    re.ASCII,
)
_MAX_LABEL: Final = 63


@dataclass(frozen=True, slots=True)
class AzureCloud:
    """One of Azure's separate clouds: where its registries, its Entra and its storage live.

    `cli_name` is what `az cloud set` calls it. `federation_audience` is whom a foreign token is meant for;
    the sovereign ones follow the documentation of workload identity federation and were not tried.
    """

    name: CloudName
    domain: str
    authority: str
    storage_domain: str
    federation_audience: str
    cli_name: str


CLOUDS: Final = (
    AzureCloud(
        "public",
        "azurecr.io",
        "login.microsoftonline.com",
        "blob.core.windows.net",
        "api://AzureADTokenExchange",
        "AzureCloud",
    ),
    AzureCloud(
        "us_gov",
        "azurecr.us",
        "login.microsoftonline.us",
        "blob.core.usgovcloudapi.net",
        "api://AzureADTokenExchangeUSGov",
        "AzureUSGovernment",
    ),
    AzureCloud(
        "china",
        "azurecr.cn",
        "login.chinacloudapi.cn",
        "blob.core.chinacloudapi.cn",
        "api://AzureADTokenExchangeChina",
        "AzureChinaCloud",
    ),
)
"""Authorities: azure-identity's KnownAuthorities."""


def cloud_named(name: CloudName) -> AzureCloud:
    """Return a cloud by the name that settings give it."""
    return next(cloud for cloud in CLOUDS if cloud.name == name)


@dataclass(frozen=True, slots=True)
class AcrHost:
    """What a login server says about itself; `name` is the resource's, `region` a regional endpoint's."""

    name: str
    label: str
    region: str | None
    cloud: AzureCloud

    @classmethod
    def parse(cls, host: str) -> Self:
        """Read a lower-case host; raise InvalidHostError unless the whole of it is a login server."""
        match = _HOST.fullmatch(host)
        if match is None or len(match["label"]) > _MAX_LABEL:
            raise InvalidHostError("a registry's login server is <5 to 50 letters and digits>.azurecr.io")
        cloud = next(cloud for cloud in CLOUDS if cloud.domain == match["domain"])
        return cls(match["name"], match["label"], match["region"], cloud)


def is_acr_host(host: str) -> bool:
    """Whether the whole of a lower-case host is a registry's login server."""
    try:
        AcrHost.parse(host)
    except InvalidHostError:
        return False
    return True
