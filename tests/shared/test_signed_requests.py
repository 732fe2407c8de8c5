from datetime import UTC, datetime, timedelta

import pytest
from pydantic import BaseModel

from vreg_shared.messages.signed_request import RequestRejectedError, read_request, sign_request
from vreg_shared.signing import SigningKey

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
KEY = SigningKey.generate()


class Order(BaseModel):
    what: str = "this"


def test_a_request_is_read_by_who_knows_its_asker() -> None:
    raw = sign_request(Order(), "vreg.x", KEY, NOW)
    assert Order.model_validate_json(read_request(raw, "vreg.x", KEY.verifying, NOW)) == Order()


@pytest.mark.parametrize("late", [timedelta(seconds=61), timedelta(seconds=-61)])
def test_a_request_of_another_time_is_not_answered(late: timedelta) -> None:
    raw = sign_request(Order(), "vreg.x", KEY, NOW)
    with pytest.raises(RequestRejectedError, match="clocks"):
        read_request(raw, "vreg.x", KEY.verifying, NOW + late)


def test_a_request_holds_for_its_subject_its_asker_and_its_words() -> None:
    raw = sign_request(Order(), "vreg.x", KEY, NOW)
    for tampered, subject, key in (
        (raw, "vreg.y", KEY),
        (raw, "vreg.x", SigningKey.generate()),
        (raw.replace(b"this", b"that"), "vreg.x", KEY),
        (b"{}", "vreg.x", KEY),
        (b"\xff", "vreg.x", KEY),
    ):
        with pytest.raises(RequestRejectedError):
            read_request(tampered, subject, key.verifying, NOW)
