"""What a repository's name on `/v2/` means: the project, the repository in it, the image in that."""

from dataclasses import dataclass

from tests.clouds.gcp.places import Place


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked for; `path` is as it was spelt."""

    path: str
    where: tuple[str, str, str]
    """Project, location and repository."""
    image: str


def read_path(path: str, place: Place) -> Asked | None:
    """Return what a name means at a host; None if it has too few components."""
    parts = path.split("/")
    if "." in parts[0]:  # a project of an organisation's own domain
        parts = ["/".join(parts[:2]), *parts[2:]]
    if place.repository:
        parts.insert(1, place.repository)
    if len(parts) < 2 or not all(parts):
        return None
    return Asked(path, (parts[0], place.location, parts[1]), "/".join(parts[2:]))
