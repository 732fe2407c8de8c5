"""A raw request path, cut by hand into what it asks for; whatever it is, there is an answer to it."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from vreg_shared.oci.digest import Digest, InvalidDigestError
from vreg_shared.oci.errors import OciError
from vreg_shared.oci.reference import (
    InvalidNameError,
    InvalidTagError,
    Reference,
    RepositoryName,
    parse_reference,
)

MAX_PATH_BYTES: Final = 1024
"""A name, a digest and the words between them need fewer than 500."""


@dataclass(frozen=True, slots=True)
class Ping:
    """`/v2/`: the question whether one is signed in."""


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """`/v2/token`: our own token endpoint."""


@dataclass(frozen=True, slots=True)
class CatalogPath:
    """`/v2/_catalog`: the repositories of all registries together."""


@dataclass(frozen=True, slots=True)
class Place:
    """A repository of a virtual registry: its slug, and the rest of the name."""

    slug: str
    repository: RepositoryName

    @property
    def name(self) -> str:
        """The name as the client spells it."""
        return f"{self.slug}/{self.repository}"


@dataclass(frozen=True, slots=True)
class ManifestPath:
    """A manifest by tag or digest."""

    place: Place
    reference: Reference


@dataclass(frozen=True, slots=True)
class BlobPath:
    """A blob by digest."""

    place: Place
    digest: Digest


@dataclass(frozen=True, slots=True)
class TagsPath:
    """The tags of a repository."""

    place: Place


@dataclass(frozen=True, slots=True)
class ReferrersPath:
    """The manifests that refer to a digest."""

    place: Place
    digest: Digest


@dataclass(frozen=True, slots=True)
class PushPath:
    """A place that exists for pushing alone."""


@dataclass(frozen=True, slots=True)
class UnknownPath:
    """Well formed, and nothing we have."""


@dataclass(frozen=True, slots=True)
class MalformedPath:
    """Not a path any registry has; `error` says what is wrong with it."""

    error: OciError


InRepository = ManifestPath | BlobPath | TagsPath | ReferrersPath
IN_REPOSITORY: Final = (ManifestPath, BlobPath, TagsPath, ReferrersPath)
"""The same as a tuple, which isinstance tests several times faster."""
Route = Ping | TokenRequest | CatalogPath | InRepository | PushPath | UnknownPath | MalformedPath

_ROOT: Final = "/v2/"
_FIXED: Final[dict[str, Route]] = {
    "/v2/": Ping(),
    "/v2": Ping(),
    "/v2/token": TokenRequest(),
    "/v2/_catalog": CatalogPath(),
}
_UNKNOWN: Final = UnknownPath()
_FORBIDDEN: Final = frozenset("%\\\0?#;")
"""No name, tag or digest holds these, so an encoded path is one somebody wants read in two ways."""


@lru_cache(maxsize=4096)
def parse_path(raw_path: bytes) -> Route:  # noqa: PLR0911 - a table of refusals
    """Return what a raw path asks for; never raises."""
    if len(raw_path) > MAX_PATH_BYTES or not raw_path.isascii():
        return MalformedPath(OciError.NAME_INVALID)
    path = raw_path.decode("ascii")
    if path in _FIXED:
        return _FIXED[path]
    if not path.startswith(_ROOT):
        return _UNKNOWN
    if not path.isprintable() or not _FORBIDDEN.isdisjoint(path):
        return MalformedPath(OciError.NAME_INVALID)
    try:
        return _in_repository(path[len(_ROOT) :])
    except InvalidNameError:
        return MalformedPath(OciError.NAME_INVALID)
    except InvalidTagError:
        return MalformedPath(OciError.TAG_INVALID)
    except InvalidDigestError:
        return MalformedPath(OciError.DIGEST_INVALID)


def _in_repository(path: str) -> Route:
    """Cut from the right, for a repository may be called `manifests` or `blobs` too."""
    head, _, last = path.rpartition("/")
    name, _, word = head.rpartition("/")
    if word == "manifests":
        place = _place(name)
        return ManifestPath(place, parse_reference(last)) if place else _UNKNOWN
    if word == "blobs" and last != "uploads":
        place = _place(name)
        return BlobPath(place, Digest.parse(last)) if place else _UNKNOWN
    if word == "referrers":
        place = _place(name)
        return ReferrersPath(place, Digest.parse(last)) if place else _UNKNOWN
    if word == "tags" and last == "list":
        place = _place(name)
        return TagsPath(place) if place else _UNKNOWN
    if "blobs" in (word, name.rpartition("/")[2]) and "uploads" in (word, last):
        return PushPath()
    return _without_ending(path)


def _without_ending(path: str) -> Route:
    """Tell a malformed name, as `a/../b`, from a mere unknown path."""
    RepositoryName.parse(path.removesuffix("/"))
    return _UNKNOWN


def _place(name: str) -> Place | None:
    """Cut a name into slug and repository; None when there is no repository left. Raises InvalidNameError."""
    RepositoryName.parse(name)
    slug, _, repository = name.partition("/")
    # A tail of a valid name at a "/" is a valid name.
    return Place(slug, RepositoryName(repository)) if repository else None
