"""The signs of every upstream, as they come in: from pulls, from probes, and from the keepers of leases."""

from collections.abc import Iterable
from datetime import datetime

from vreg_shared.messages.connection_test import StageReport
from vreg_shared.messages.health import HealthRecord, HealthState, Observation
from vreg_shared.provider import Answer
from vreg_token_broker.health.state import Contact, Failure

_OF_THE_UPSTREAM = frozenset({Answer.REFUSED, Answer.UNAVAILABLE})
"""What pulls alone may tell: clients also ask for what there is not, or what they only guess."""


class Signs:
    """Keeps the contact with each upstream."""

    def __init__(self) -> None:
        self._contacts: dict[str, Contact] = {}

    def contact(self, upstream_id: str) -> Contact:
        """Return how it goes."""
        return self._contacts.get(upstream_id, Contact())

    def remember(self, record: HealthRecord) -> None:
        """Begin where another broker left off, unless something newer is known."""
        if record.upstream_id in self._contacts:
            return
        is_bad = record.state in {HealthState.UNREACHABLE, HealthState.AUTH_FAILED} and record.failures > 0
        answer = Answer.UNAVAILABLE if record.state is HealthState.UNREACHABLE else Answer.REFUSED
        failure = Failure(answer, record.reason, record.detail, record.remedy) if is_bad else None
        self._contacts[record.upstream_id] = Contact(
            failures=record.failures,
            failure=failure,
            is_bad=is_bad,
            checked_at=record.checked_at,
            ok_at=record.ok_at,
        )

    def forget(self, upstream_id: str) -> None:
        """Begin anew: it is gone, or something of it is another."""
        self._contacts.pop(upstream_id, None)

    def observed(self, observation: Observation, now: datetime) -> None:
        """Take in what a proxy's pulls met. Their order is not known: where any went well, that came last."""
        contact = self.contact(observation.upstream_id)
        if observation.answer in _OF_THE_UPSTREAM and observation.answer is not None:
            failure = Failure(observation.answer, observation.reason, observation.detail, observation.remedy)
            contact = contact.after_failure(failure, now, max(1, observation.failures))
        if observation.successes:
            contact = contact.after_success(now, observation.successes)
        self._contacts[observation.upstream_id] = contact

    def probed(self, upstream_id: str, reports: Iterable[StageReport], now: datetime) -> None:
        """Take in what a probe saw. An upstream without a probe image proves no more than `/v2/`."""
        contact = self.contact(upstream_id)
        failure = next(
            (report for report in reports if report.outcome == "failed" and report.reason != "probe_missing"),
            None,
        )
        if failure is None:
            self._contacts[upstream_id] = contact.after_success(now)
            return
        answer = Answer(failure.answer) if failure.answer else Answer.UNAVAILABLE
        told = Failure(answer, failure.reason, failure.detail, failure.remedy)
        self._contacts[upstream_id] = contact.after_failure(told, now)
