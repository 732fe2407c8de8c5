"""`WWW-Authenticate` headers, read by the grammar of RFC 9110 section 11.6.1.

What comes from an upstream is untrusted: parsing decides nothing, it only names what was said.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

MAX_LENGTH: Final = 8192
_WORD: Final = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_SCHEME: Final = re.compile(rf"[\s,]*({_WORD})(?=\s|,|$)")
_PARAMETER: Final = re.compile(rf'[\s,]*({_WORD})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|({_WORD}|[^\s,"]+))')
_ESCAPED: Final = re.compile(r"\\(.)")


@dataclass(frozen=True, slots=True)
class Challenge:
    """One scheme and its parameters; scheme and parameter names are lower case."""

    scheme: str
    parameters: Mapping[str, str]


def parse_challenges(header_values: Iterable[str]) -> tuple[Challenge, ...]:
    """Return every challenge that can be read, in order; never raises."""
    return tuple(challenge for value in header_values for challenge in _challenges(value[:MAX_LENGTH]))


def _challenges(value: str) -> Iterator[Challenge]:
    position = 0
    while (scheme := _SCHEME.match(value, position)) is not None:
        position = scheme.end()
        parameters: dict[str, str] = {}
        while (parameter := _PARAMETER.match(value, position)) is not None:
            position = parameter.end()
            name, quoted, plain = parameter.groups()
            text = plain if quoted is None else _ESCAPED.sub(r"\1", quoted)
            parameters.setdefault(name.lower(), text)
        yield Challenge(scheme.group(1).lower(), MappingProxyType(parameters))
