"""Registries that are no cloud's, under their real names: where each one's realm and blobs are."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Site:
    """One registry. `realm_host` may be the registry's own."""

    host: str
    realm_host: str
    realm_path: str
    service: str
    storage_host: str
    has_library: bool = False
    """Names of one component do not exist; what people call `alpine` is `library/alpine`."""
    counts_pulls: bool = False
    says_expiry: bool = True
    """Whether the token endpoint says how long a token lives."""

    @property
    def realm(self) -> str:
        """The token endpoint, as challenges name it."""
        return f"https://{self.realm_host}{self.realm_path}"


DOCKER_HUB = Site(
    host="registry-1.docker.io",
    realm_host="auth.docker.io",
    realm_path="/token",
    service="registry.docker.io",
    storage_host="production.cloudflare.docker.com",
    has_library=True,
    counts_pulls=True,
)
GITLAB = Site(
    host="registry.gitlab.com",
    realm_host="gitlab.com",
    realm_path="/jwt/auth",
    service="container_registry",
    storage_host="cdn.registry.gitlab-static.net",
)
GHCR = Site(
    host="ghcr.io",
    realm_host="ghcr.io",
    realm_path="/token",
    service="ghcr.io",
    storage_host="pkg-containers.githubusercontent.com",
    says_expiry=False,
)
QUAY = Site(
    host="quay.example.test",
    realm_host="quay.example.test",
    realm_path="/v2/auth",
    service="quay.example.test",
    storage_host="cdn.quay.example.test",
)
"""Somebody's own Quay or Harbor; blobs are on a name that no provider knows."""

SITES = (DOCKER_HUB, GITLAB, GHCR, QUAY)


def site_of(host: str) -> Site:
    """Return the site that a registry, token or blob host belongs to; raise LookupError."""
    for site in SITES:
        if host in {site.host, site.realm_host, site.storage_host}:
            return site
    raise LookupError(f"{host} is none of the emulated registries: {[site.host for site in SITES]}")
