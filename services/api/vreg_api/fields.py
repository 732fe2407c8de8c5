"""The kinds of text that several nouns share, checked where they come in."""

import unicodedata
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from pydantic import AfterValidator, Field, StringConstraints

_REFUSED: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})
_TURNS_TEXT_AROUND: Final = frozenset(
    "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)


def _name(text: str) -> str:
    """Refuse what cannot be seen: two names that look alike are one to people."""
    if any(unicodedata.category(each) == "Cf" for each in text):
        message = "must not contain characters that cannot be seen"
        raise ValueError(message)
    return _one_line(text)


def _one_line(text: str) -> str:
    if any(unicodedata.category(each) in _REFUSED or each in _TURNS_TEXT_AROUND for each in text):
        message = "must be one line of text without control characters"
        raise ValueError(message)
    return unicodedata.normalize("NFC", text)


def _lines(text: str) -> str:
    _one_line(text.replace("\n", "").replace("\r", "").replace("\t", ""))
    return unicodedata.normalize("NFC", text)


Name = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=255),
    AfterValidator(_name),
    Field(title="Name", description="Unique, whatever the case of its letters.", examples=["production"]),
]
Description = Annotated[
    str,
    StringConstraints(max_length=1024),
    AfterValidator(_lines),
    Field(title="Description", description="For people.", examples=["Images of the payment team"]),
]
Identifier = Annotated[
    str,
    StringConstraints(pattern=r"^[0-7][0-9A-HJKMNP-TV-Z]{25}$"),
    Field(description="A ULID.", examples=["01KAS1G6V5X4T3NQ7R8M2C9B0Z"]),
]


def in_utc(time: datetime) -> datetime:
    """Return a time in UTC, as one without zone is already; raise ValueError."""
    try:
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except OverflowError as error:
        message = "is out of range"
        raise ValueError(message) from error


def name_key(name: str) -> str:
    """Return what two names have in common that people would take for one."""
    return unicodedata.normalize("NFC", name.casefold())


def may_be_left_out() -> Any:  # noqa: ANN401 - stands for a default of any type
    """Mark a field of a change: left out means unchanged; its default is never looked at."""
    return Field(default_factory=lambda: None)
