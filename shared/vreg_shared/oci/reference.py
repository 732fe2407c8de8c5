"""Repository names, tags and references, by the grammar of the OCI distribution specification.

Source: https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests
"""

import re
from dataclasses import dataclass
from typing import Final, Self

from vreg_shared.errors import VregError
from vreg_shared.oci.digest import Digest

MAX_NAME_LENGTH: Final = 255
_COMPONENT: Final = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME: Final = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG: Final = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")


class InvalidNameError(VregError):
    """The text is not a repository name."""


class InvalidTagError(VregError):
    """The text is neither a tag nor a digest."""


@dataclass(frozen=True, slots=True)
class RepositoryName:
    """A repository's name within one registry: lower case, at most 255 characters, no `..` possible."""

    value: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a name; raise InvalidNameError when the whole text is not one."""
        if len(text) > MAX_NAME_LENGTH or _NAME.fullmatch(text) is None:
            raise InvalidNameError(
                "a repository name is lower-case components joined by '/', at most 255 characters"
            )
        return cls(text)

    def with_prefix(self, prefix: str) -> Self:
        """Return the name below `prefix` (empty for none); raise InvalidNameError if that is too long."""
        return type(self).parse(f"{prefix.strip('/')}/{self.value}") if prefix else self

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True)
class Tag:
    """A name for a manifest that its owner may move."""

    value: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a tag; raise InvalidTagError when the whole text is not one."""
        if _TAG.fullmatch(text) is None:
            raise InvalidTagError(
                "a tag is 1 to 128 letters, digits, '_', '.' or '-', not starting with . or -"
            )
        return cls(text)

    def __str__(self) -> str:
        return self.value


Reference = Tag | Digest


def parse_reference(text: str) -> Reference:
    """Read what stands after `/manifests/`; raise InvalidTagError or InvalidDigestError."""
    return Digest.parse(text) if ":" in text else Tag.parse(text)
