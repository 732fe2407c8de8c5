"""The client for one upstream registry, used by the proxy and by the connection test."""

from vreg_shared.registry_client.client import MAX_TAGS, RegistryClient, open_upstream_session
from vreg_shared.registry_client.results import (
    BlobInterruptedError,
    BlobStream,
    Manifest,
    ManifestDescriptor,
    TagPage,
)
from vreg_shared.registry_client.target import (
    Credentials,
    CredentialUnavailableError,
    FixedCredentials,
    Target,
)
from vreg_shared.registry_client.transport import RequestFailedError, Transport

__all__ = [
    "MAX_TAGS",
    "BlobInterruptedError",
    "BlobStream",
    "CredentialUnavailableError",
    "Credentials",
    "FixedCredentials",
    "Manifest",
    "ManifestDescriptor",
    "RegistryClient",
    "RequestFailedError",
    "TagPage",
    "Target",
    "Transport",
    "open_upstream_session",
]
