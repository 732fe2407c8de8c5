"""What a client is told when a walk ended without the thing: honest, in our words, never an upstream's."""

from typing import Final

from vreg_proxy.distribution.replies import Problem
from vreg_proxy.turns import NO_TURN
from vreg_proxy.walk import Nowhere, Stopped
from vreg_shared.oci.errors import OciError
from vreg_shared.provider import Answer, Verdict

RETRY_AFTER_SECONDS: Final = 5.0
_TOO_MANY: Final = frozenset({"throttled", NO_TURN})
_MALFORMED: Final = frozenset({"manifest_invalid", "digest_mismatch"})


def problem_of(end: Stopped | Nowhere, absent: OciError) -> Problem:
    """Return the error for the end of a walk; `absent` is what *nowhere* is called for this kind of thing."""
    if isinstance(end, Nowhere):
        return Problem(absent)
    verdict = end.verdict
    return Problem(
        _error(verdict, absent),
        verdict.reason,
        _retry_after(verdict),
        detail=verdict.detail,
        upstream_id=end.upstream_id,
    )


def _error(verdict: Verdict, absent: OciError) -> OciError:
    match verdict.answer:
        case Answer.HIDDEN | Answer.REFUSED:
            return OciError.DENIED
        case Answer.ABSENT:
            return absent
    if verdict.reason in _TOO_MANY:
        return OciError.TOOMANYREQUESTS
    is_manifest = absent is OciError.MANIFEST_UNKNOWN
    return OciError.MANIFEST_INVALID if is_manifest and verdict.reason in _MALFORMED else OciError.UNAVAILABLE


def _retry_after(verdict: Verdict) -> float | None:
    if verdict.answer is not Answer.UNAVAILABLE:
        return None
    return verdict.retry_after if verdict.retry_after is not None else RETRY_AFTER_SECONDS
