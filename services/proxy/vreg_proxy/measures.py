"""What a worker counts of its pulls. No label holds a repository, a client or anything else without end."""

from typing import Final

from vreg_shared.clock import Clock
from vreg_shared.messages.upstream import StaleCase
from vreg_shared.metrics import Meter
from vreg_shared.provider import Verdict

SECONDS: Final = (0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0)
"""From an answer out of memory to a blob that is being fetched."""
_METHODS: Final = frozenset({"GET", "HEAD"})
_CLASSES: Final = ("", "1xx", "2xx", "3xx", "4xx", "5xx")


class Measures:
    """Everything that is counted as it happens; what is read when asked for is added in the wiring."""

    def __init__(self, meter: Meter, clock: Clock) -> None:
        self.now = clock.monotonic
        self._seconds = meter.histogram(
            "vreg_proxy_request_seconds",
            "Time from a request to the end of its answer.",
            SECONDS,
            ("route", "method", "status"),
        )
        self.sent_bytes = 0
        meter.count(
            "vreg_proxy_sent_bytes_total", "Bytes of bodies sent to clients.", lambda: {(): self.sent_bytes}
        )
        self._cut = meter.counter(
            "vreg_proxy_bodies_cut_total", "Bodies that ended early, by who ended them.", ("cause",)
        )
        self._stale = meter.counter(
            "vreg_proxy_stale_answers_total",
            "Copies found that an upstream could not confirm, by the case they were served in.",
            ("upstream", "case"),
        )
        self._limits = meter.counter(
            "vreg_proxy_limits_hit_total", "Requests refused with 429 by a limit of our own.", ("limit",)
        )
        self._answers = meter.counter(
            "vreg_proxy_upstream_answers_total", "Answers of upstreams.", ("upstream", "outcome")
        )
        self._fetches = meter.counter(
            "vreg_proxy_upstream_blobs_total", "Blobs that an upstream began to send.", ("upstream",)
        )
        self._received = meter.counter(
            "vreg_proxy_upstream_received_bytes_total", "Bytes of blobs received.", ("upstream",)
        )

    def answered(self, route: str, method: str, status: int, began: float, size: int) -> None:
        """Count an answer whose last byte was handed over, or that ended early.

        `size` is its body's, unless that was counted piece by piece.
        """
        labels = (route, method if method in _METHODS else "other", _CLASSES[status // 100])
        self._seconds.observe(labels, self.now() - began)
        self.sent_bytes += size

    def sent(self, size: int) -> None:
        """Count a piece of a body."""
        self.sent_bytes += size

    def cut(self, *, by_client: bool) -> None:
        """Count a body that ended early."""
        self._cut.add(("client" if by_client else "upstream",))

    def stale_served(self, upstream_id: str, case: StaleCase) -> None:
        """Count a copy that its upstream could not confirm."""
        self._stale.add((upstream_id, case))

    def hit(self, limit: str) -> None:
        """Count a request refused by one of our own limits."""
        self._limits.add((limit,))

    def heard(self, upstream_id: str, verdict: Verdict | None) -> None:
        """Count an upstream's answer; None stands for the thing asked for."""
        self._answers.add((upstream_id, "found" if verdict is None else verdict.answer.value))

    def fetching(self, upstream_id: str) -> None:
        """Count a blob that begins to arrive."""
        self._fetches.add((upstream_id,))

    def received(self, upstream_id: str, size: int) -> None:
        """Count bytes of a blob that arrived."""
        self._received.add((upstream_id,), size)
