"""Which Google host names exist, and what is served under each.

A name outside this table does not resolve. Written from the public lists of locations, on purpose without
looking at vreg's own host grammar, so that the two can disagree.
"""

from dataclasses import dataclass

REGIONS = (
    "asia-northeast1",
    "europe-west1",
    "europe-west3",
    "northamerica-northeast1",
    "us-central1",
    "us-east1",
)
MULTI_REGIONS = ("asia", "europe", "us")
GCR = {"gcr.io": "us", "us.gcr.io": "us", "eu.gcr.io": "europe", "asia.gcr.io": "asia"}
S3NS = "docker.s3nsregistry.fr"
STORAGE = "storage.googleapis.com"


@dataclass(frozen=True, slots=True)
class Place:
    """A host of Google: which service answers there, and for which location."""

    service: str
    """`oauth2`, `sts-google`, `iamcredentials`, `gar` (the registry) or `storage` (blobs of gcr.io)."""
    location: str = ""
    repository: str = ""
    """Of gcr.io and its like, whose paths name none."""


def find_place(host: str) -> Place | None:
    """Return what a lower-case host name leads to, or None if Google has no such name."""
    return _PLACES.get(host)


def _places() -> dict[str, Place]:
    places = {
        "oauth2.googleapis.com": Place("oauth2"),
        "sts.googleapis.com": Place("sts-google"),
        "iamcredentials.googleapis.com": Place("iamcredentials"),
        STORAGE: Place("storage"),
        S3NS: Place("gar", "s3ns"),
    }
    places |= {f"{each}-docker.pkg.dev": Place("gar", each) for each in (*REGIONS, *MULTI_REGIONS)}
    places |= {f"docker.{each}.rep.pkg.dev": Place("gar", each) for each in REGIONS}
    return places | {host: Place("gar", location, host) for host, location in GCR.items()}


_PLACES = _places()
