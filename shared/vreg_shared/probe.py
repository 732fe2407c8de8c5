"""A probe as people write it: an image's name, with a tag or a digest if they like."""

from vreg_shared.errors import VregError
from vreg_shared.messages.connection_test import Probe
from vreg_shared.oci.reference import RepositoryName, parse_reference


def probe_text(text: str) -> str:
    """Return the text, or nothing of blank text; raise ValueError unless it names an image."""
    trimmed = text.strip().strip("/")
    if not trimmed:
        return ""
    try:
        probe = _cut(trimmed)
        RepositoryName.parse(probe.repository)
        if probe.reference is not None:
            parse_reference(probe.reference)
    except VregError as error:
        raise ValueError(str(error)) from error
    return trimmed


def probe_of(text: str) -> Probe | None:
    """Return what a checked text names; None where it names nothing."""
    return _cut(text) if text else None


def _cut(text: str) -> Probe:
    """Cut at the digest's `@`, else at the last `:`, which no repository's name may hold."""
    repository, at, digest = text.partition("@")
    if at:
        return Probe(repository=repository.partition(":")[0], reference=digest)
    repository, colon, tag = text.partition(":")
    return Probe(repository=repository, reference=tag if colon else None)
