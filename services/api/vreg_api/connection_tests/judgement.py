"""What the stages of a connection test come to, and what to do about the first that failed. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from vreg_shared.auth_method import TrustStep
from vreg_shared.messages.connection_test import CLIMB, Stage, StageReport
from vreg_shared.provider import Answer, Reader, RegistryKind

_ABOUT_RIGHTS: Final = frozenset({Answer.HIDDEN.value})


@dataclass(frozen=True, slots=True)
class Conclusion:
    """A test's end: its state and the reason for it."""

    state: str
    reason: str = ""


def conclusion_of(reports: Sequence[StageReport]) -> Conclusion:
    """Return what a test came to. It has passed only if an image was read."""
    failures = [report for report in reports if report.outcome == "failed"]
    if not failures:
        is_read = any(report.stage is Stage.MANIFEST and report.outcome == "passed" for report in reports)
        return Conclusion("passed") if is_read else Conclusion("failed", "internal_error")
    reason = failures[0].reason
    return Conclusion("incomplete" if reason == "probe_missing" else "failed", reason)


def remedy_steps(
    reports: Sequence[StageReport],
    trust_steps: Sequence[TrustStep],
    kind: RegistryKind,
    host: str,
    repository: str,
) -> tuple[TrustStep, ...]:
    """Return what to do in the cloud: to be trusted there, or to be let read this repository.

    `repository` is spelled as the upstream spells it.
    """
    failure = next((report for report in reports if report.outcome == "failed"), None)
    if failure is None:
        return ()
    if failure.stage in CLIMB:
        return tuple(trust_steps)
    if failure.answer in _ABOUT_RIGHTS and repository:
        principal = next((report.facts["principal"] for report in reports if "principal" in report.facts), "")
        return kind.read_grant(Reader(host, repository, principal))
    return ()
