"""Requests that only one service may make: signed by it, for one subject, and good for a minute.

The bus lets through whom it is told to; a signature also holds against whoever runs the bus.
"""

import base64
import binascii
import struct
from datetime import datetime, timedelta
from typing import Final

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from vreg_shared.errors import VregError
from vreg_shared.signing import SignatureInvalidError, SigningKey, VerifyingKey

_DOMAIN: Final = b"vreg/request/1"
_GOOD_FOR: Final = timedelta(seconds=60)
"""Either way: the clocks of two services may differ."""


class RequestRejectedError(VregError):
    """The request is malformed, too old, or not of the service that may make it: it is not answered."""


class _Wire(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)

    sent_at: AwareDatetime
    body: str
    signature: str


def sign_request(body: BaseModel, subject: str, signing_key: SigningKey, now: datetime) -> bytes:
    """Return what to send to `subject`."""
    text = body.model_dump_json()
    signature = base64.b64encode(signing_key.sign(_signed_bytes(subject, now, text))).decode()
    return _Wire(sent_at=now, body=text, signature=signature).model_dump_json().encode()


def read_request(raw: bytes, subject: str, asker: VerifyingKey, now: datetime) -> str:
    """Return the JSON text that `asker` sent to `subject`; raise RequestRejectedError."""
    try:
        wire = _Wire.model_validate_json(raw)
        signature = base64.b64decode(wire.signature, validate=True)
        asker.verify(signature, _signed_bytes(subject, wire.sent_at, wire.body))
    except (ValidationError, binascii.Error, ValueError) as error:
        raise RequestRejectedError(f"the request to {subject} cannot be read") from error
    except SignatureInvalidError as error:
        raise RequestRejectedError(f"the request to {subject} is not signed by who may make it") from error
    if abs(now - wire.sent_at) > _GOOD_FOR:
        raise RequestRejectedError(f"the request to {subject} is not of now; compare the services' clocks")
    return wire.body


def _signed_bytes(subject: str, sent_at: datetime, body: str) -> bytes:
    """Return each part with its length before it, so that no two requests read the same."""
    parts = (subject.encode(), sent_at.isoformat().encode(), body.encode())
    return _DOMAIN + b"".join(struct.pack(">I", len(part)) + part for part in parts)
