"""Which service of Azure answers under a host name."""

import re
from dataclasses import dataclass

AUTHORITIES = {
    "public": "login.microsoftonline.com",
    "us_gov": "login.microsoftonline.us",
    "china": "login.chinacloudapi.cn",
}
REGISTRY_DOMAINS = {"public": "azurecr.io", "us_gov": "azurecr.us", "china": "azurecr.cn"}
STORAGE_DOMAINS = {
    "public": "blob.core.windows.net",
    "us_gov": "blob.core.usgovcloudapi.net",
    "china": "blob.core.chinacloudapi.cn",
}
_REGISTRY = re.compile(
    r"(?P<label>[a-z0-9]+(?:-[a-z0-9]+)?)(?:\.(?P<region>[a-z0-9]+)\.geo)?\.azurecr\.(io|us|cn)"
)
_DATA = re.compile(r"(?P<label>[a-z0-9]+(?:-[a-z0-9]+)?)\.[a-z0-9]+\.data\.azurecr\.(io|us|cn)")


@dataclass(frozen=True, slots=True)
class Place:
    """A service, and for registries the login server that a regional endpoint belongs to."""

    service: str
    cloud: str = ""
    login_server: str = ""


def find_place(host: str) -> Place | None:
    """Return what a name of Azure leads to."""
    for cloud, authority in AUTHORITIES.items():
        if host == authority:
            return Place("entra", cloud)
    for cloud, domain in STORAGE_DOMAINS.items():
        if host.endswith(f".{domain}") and host.count(".") == domain.count(".") + 1:
            return Place("azure-storage", cloud)
    for cloud, domain in REGISTRY_DOMAINS.items():
        if not host.endswith(domain):
            continue
        if _DATA.fullmatch(host) is not None:
            return Place("azure-storage", cloud)
        match = _REGISTRY.fullmatch(host)
        if match is not None:
            return Place("acr", cloud, f"{match['label']}.{domain}")
    return None
