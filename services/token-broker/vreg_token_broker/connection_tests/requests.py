"""Answers `vreg.broker.test`: each stage in its turn, and a report of each as it ends."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

import structlog
from pydantic import ValidationError

from vreg_shared.clock import Clock
from vreg_shared.messages.connection_test import PULL, SUBJECT, ConnectionOrder, ProxyOrder, StageReport
from vreg_shared.messages.lease import seal_lease
from vreg_shared.messages.signed_request import RequestRejectedError, read_request
from vreg_shared.sealing import SealingPublicKey
from vreg_shared.signing import VerifyingKey
from vreg_token_broker.connection_tests.climb import Climb
from vreg_token_broker.connection_tests.proxy_stages import ProxyStages

Say = Callable[[bytes], Awaitable[None]]
_log = structlog.get_logger(__name__)


class ConnectionTests:
    """Tests what the api, and only the api, orders. `new_climb` makes a climb for each."""

    def __init__(
        self,
        new_climb: Callable[[], Climb],
        proxies: ProxyStages,
        proxies_key: SealingPublicKey,
        api: VerifyingKey,
        clock: Clock,
    ) -> None:
        self._new_climb = new_climb
        self._proxies = proxies
        self._proxies_key = proxies_key
        self._api = api
        self._clock = clock

    async def answer(self, payload: bytes, say: Say) -> None:
        """Run one test; raise RequestRejectedError.

        A host that cannot be reached does not keep us from trying the exchange: both may be wrong.
        """
        order = self._read(payload)
        _log.info("connection_test", test=order.test_id, host=order.upstream.host)
        climb = self._new_climb()
        is_reached = await _tell(self._proxies.reports(self._order(order, "reach")), say)
        is_credited = await _tell(climb.reports(order), say)
        if is_reached and is_credited:
            lease = seal_lease(climb.lease, self._proxies_key) if climb.lease is not None else None
            pull = self._order(order, "pull").model_copy(update={"lease": lease, "probe": order.probe})
            await _tell(self._proxies.reports(pull), say)
            return
        for stage in PULL:
            report = StageReport(stage=stage, outcome="skipped", reason="earlier_stage_failed")
            await say(report.model_dump_json().encode())

    def _read(self, payload: bytes) -> ConnectionOrder:
        try:
            body = read_request(payload, SUBJECT, self._api, self._clock.now())
            return ConnectionOrder.model_validate_json(body)
        except ValidationError as error:
            raise RequestRejectedError("the order for a connection test cannot be read") from error

    def _order(self, order: ConnectionOrder, part: str) -> ProxyOrder:
        return ProxyOrder.model_validate(
            {"test_id": order.test_id, "part": part, "upstream": order.upstream.model_dump()}
        )


async def _tell(reports: AsyncGenerator[StageReport, None], say: Say) -> bool:
    """Pass the reports on; return whether none of them failed."""
    is_good = True
    async with aclosing(reports):
        async for report in reports:
            is_good = is_good and report.outcome != "failed"
            await say(report.model_dump_json().encode())
    return is_good
