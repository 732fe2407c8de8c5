"""Audit events: CloudEvents 1.0, signed by their writer: stream `VREG_AUDIT`, `vreg.audit.<writer>.<kind>`.

Source: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md
"""

import base64
import binascii
import re
from datetime import datetime
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator
from ulid import ULID

from vreg_shared.canonical import canonical_json
from vreg_shared.errors import VregError
from vreg_shared.key_files import Service
from vreg_shared.signing import SignatureInvalidError, SigningKey, VerifyingKey

STREAM: Final = "VREG_AUDIT"
SUBJECTS: Final = "vreg.audit.>"
_SOURCE: Final = re.compile(rf"vreg/({'|'.join(Service)})/[^/\s]+", re.ASCII)
_TYPE: Final = re.compile(r"vreg(\.[a-z_]+)+", re.ASCII)
_ID: Final = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}", re.ASCII)


class AuditEventRejectedError(VregError):
    """The event is malformed or was not signed by the writer it names."""


class AuditEvent(BaseModel):
    """A fact: who did what to what, with which outcome. `data` holds JSON values and no secret."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    specversion: Literal["1.0"] = "1.0"
    id: str
    source: str
    type: str
    time: datetime
    subject: str
    datacontenttype: Literal["application/json"] = "application/json"
    data: dict[str, Any]
    signature: str = ""

    @field_validator("id")
    @classmethod
    def _is_ulid(cls, text: str) -> str:
        return _matching(_ID, text)

    @field_validator("source")
    @classmethod
    def _names_a_writer(cls, text: str) -> str:
        return _matching(_SOURCE, text)

    @field_validator("type")
    @classmethod
    def _is_plain(cls, text: str) -> str:
        return _matching(_TYPE, text)

    @property
    def writer(self) -> Service:
        """Whose key it is signed with."""
        return Service(self.source.split("/")[1])

    @property
    def bus_subject(self) -> str:
        """Where it is published: `vreg.audit.<writer>.<type without its first word>`."""
        return f"vreg.audit.{self.writer.value}.{self.type.removeprefix('vreg.')}"

    def line(self) -> str:
        """Return it as JSON that is one line to everybody, whatever line ends Unicode knows."""
        return self.model_dump_json(ensure_ascii=True)

    def _signed_bytes(self) -> bytes:
        return canonical_json(self.model_dump(mode="json", exclude={"signature"}))


def audit_event(  # noqa: PLR0913 - a fact has this many sides
    *,
    writer: Service,
    instance: str,
    kind: str,
    subject: str,
    time: datetime,
    data: dict[str, Any],
    signing_key: SigningKey,
) -> AuditEvent:
    """Make and sign an event; `kind` is e.g. `exchange.intent`, `subject` what it is about."""
    unsigned = AuditEvent(
        id=str(ULID.from_datetime(time)),
        source=f"vreg/{writer.value}/{instance}",
        type=f"vreg.{kind}",
        time=time,
        subject=subject,
        data=data,
    )
    signature = base64.b64encode(signing_key.sign(unsigned._signed_bytes())).decode()  # noqa: SLF001 - its maker
    return unsigned.model_copy(update={"signature": signature})


def parse(raw: str | bytes) -> AuditEvent:
    """Read an event, signed by nobody knows whom; raise AuditEventRejectedError."""
    try:
        return AuditEvent.model_validate_json(raw)
    except ValidationError as error:
        where = ", ".join(".".join(map(str, each["loc"])) or "JSON" for each in error.errors()[:3])
        raise AuditEventRejectedError(f"it is no audit event: {where}") from None


def verify(event: AuditEvent, verifying_key: VerifyingKey) -> None:
    """Return quietly, or raise AuditEventRejectedError."""
    try:
        signature = base64.b64decode(event.signature, validate=True)
        verifying_key.verify(signature, event._signed_bytes())  # noqa: SLF001 - its counterpart
    except (binascii.Error, ValueError, SignatureInvalidError) as error:
        raise AuditEventRejectedError(f"audit event {event.id} is not signed by {event.source}") from error


def _matching(pattern: re.Pattern[str], text: str) -> str:
    if pattern.fullmatch(text) is None:
        message = f"is not of the form {pattern.pattern}"
        raise ValueError(message)
    return text
