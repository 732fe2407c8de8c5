"""The grammar of Artifact Registry hosts and paths: the location stands in the host, the project in the path.

Sources: docker-credential-gcr config/const.go, cloud-provider-gcp, fluxcd/pkg auth/gcp. Always matched whole.
"""

import re
from dataclasses import dataclass
from typing import Final, Self

from vreg_shared.provider import InvalidHostError

_LOCATION: Final = r"[a-z][a-z0-9-]*[a-z0-9]"
_HOST: Final = re.compile(
    rf"(?:(?P<location>{_LOCATION})-docker\.pkg\.dev"
    rf"|docker\.(?P<region>{_LOCATION})\.rep\.pkg\.dev"
    r"|(?P<gcr>(?:(?:us|eu|asia)\.)?gcr\.io)"
    r"|docker\.s3nsregistry\.fr)",
    re.ASCII,
)
_GCR_LOCATIONS: Final = {"gcr.io": "us", "us.gcr.io": "us", "eu.gcr.io": "europe", "asia.gcr.io": "asia"}


@dataclass(frozen=True, slots=True)
class GarHost:
    """What an Artifact Registry host says about itself; `location` is empty where the host names none."""

    location: str
    is_gcr: bool
    """Whether the repository is implied by the host: `gcr.io` and its like."""
    is_google: bool
    """Whether Google's own cloud answers there. S3NS is a separate one, whose tokens Google does not give."""

    @classmethod
    def parse(cls, host: str) -> Self:
        """Read a lower-case host; raise InvalidHostError unless the whole of it is Artifact Registry's."""
        match = _HOST.fullmatch(host)
        if match is None:
            raise InvalidHostError("an Artifact Registry host is <location>-docker.pkg.dev or gcr.io")
        if match["gcr"] is not None:
            return cls(_GCR_LOCATIONS[host], is_gcr=True, is_google=True)
        location = match["location"] or match["region"] or ""
        return cls(location, is_gcr=False, is_google=bool(location))


def is_gar_host(host: str) -> bool:
    """Whether the whole of a lower-case host is Artifact Registry or gcr.io."""
    return _HOST.fullmatch(host) is not None


def project_of(repository: str) -> str:
    """Return the project that a repository, or the beginning of its name, is in; empty if it names none.

    Projects of an organisation's own domain (`example.com/project`) are two components.
    """
    first, _, rest = repository.partition("/")
    if "." not in first:
        return first
    second = rest.partition("/")[0]
    return f"{first}/{second}" if second else ""
