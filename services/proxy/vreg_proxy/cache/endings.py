"""How a fill ends, as a value that every reader in every process receives."""

from dataclasses import dataclass
from typing import Final

from vreg_proxy.cache.running_hash import RunningHash
from vreg_shared.provider import Answer, Verdict

DETAIL_CHARACTERS: Final = 300


@dataclass(frozen=True, slots=True)
class Verified:
    """Length and digest are right: the last bytes may go out."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The bytes are wrong, or did not all come; `reason` is a stable code. Nothing was kept."""

    reason: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The upstream of the origin with this mark gave no bytes at all; this is its answer."""

    verdict: Verdict
    mark: str


@dataclass(frozen=True, slots=True)
class Unwritable:
    """The disk took `position` bytes and no more; `hasher` has seen just those. Fetch the rest yourself."""

    position: int
    hasher: RunningHash


Ending = Verified | Failed | Refused | Unwritable


def to_record(ending: Ending) -> dict[str, object]:
    """Return the ending as the record holds it."""
    match ending:
        case Verified():
            return {"is": "verified"}
        case Failed(reason):
            return {"is": "failed", "reason": reason}
        case Refused(verdict, mark):
            return {"is": "refused", "mark": mark, **_verdict_to_record(verdict)}
        case Unwritable(position, _):
            return {"is": "unwritable", "position": position}


def refused_from_record(record: dict[str, object]) -> Refused:
    """Read a refusal another process wrote."""
    retry_after = record.get("retry_after")
    return Refused(
        Verdict(
            Answer(str(record.get("answer", Answer.UNAVAILABLE))),
            str(record.get("reason", "upstream_error")),
            retry_after=float(retry_after) if isinstance(retry_after, int | float) else None,
            detail=str(record.get("detail", "")),
        ),
        str(record.get("mark", "")),
    )


def _verdict_to_record(verdict: Verdict) -> dict[str, object]:
    return {
        "answer": verdict.answer.value,
        "reason": verdict.reason,
        "retry_after": verdict.retry_after,
        "detail": verdict.detail[:DETAIL_CHARACTERS],
    }
