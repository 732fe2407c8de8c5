"""The client for one upstream registry, used by the proxy and by the connection test."""

from vreg_shared.registry_client.client import MAX_BODIES, RegistryClient, open_upstream_session
from vreg_shared.registry_client.referrers import fallback_tag, referrers_of
from vreg_shared.registry_client.results import (
    BlobInterruptedError,
    BlobStream,
    Manifest,
    ManifestDescriptor,
    Referrer,
    ReferrersPage,
    TagPage,
)
from vreg_shared.registry_client.tags import MAX_TAGS
from vreg_shared.registry_client.target import (
    Credentials,
    CredentialUnavailableError,
    FixedCredentials,
    Target,
)
from vreg_shared.registry_client.transport import RequestFailedError, Transport

__all__ = [
    "MAX_BODIES",
    "MAX_TAGS",
    "BlobInterruptedError",
    "BlobStream",
    "CredentialUnavailableError",
    "Credentials",
    "FixedCredentials",
    "Manifest",
    "ManifestDescriptor",
    "Referrer",
    "ReferrersPage",
    "RegistryClient",
    "RequestFailedError",
    "TagPage",
    "Target",
    "Transport",
    "fallback_tag",
    "open_upstream_session",
    "referrers_of",
]
