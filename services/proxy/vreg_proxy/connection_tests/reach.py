"""Reaching a host without a credential: the address rules, the name, and an answer over TLS."""

import asyncio
import socket
from collections.abc import AsyncGenerator
from typing import Final

import aiohttp

from vreg_shared.clock import Clock
from vreg_shared.egress import EgressPolicy, EgressRefusedError, InvalidAuthorityError
from vreg_shared.explanations import remedy_of
from vreg_shared.messages.connection_test import Stage, StageReport
from vreg_shared.provider import Verdict
from vreg_shared.registry_client import RequestFailedError, Target, Transport, open_upstream_session

DNS_SECONDS: Final = 6.0
ANSWER_SECONDS: Final = 15.0
_MOST_SHOWN: Final = 8
_EARLIER: Final = "earlier_stage_failed"


class Reach:
    """Tries each in turn; what comes after a failure is skipped."""

    def __init__(self, policy: EgressPolicy, clock: Clock) -> None:
        self._policy = policy
        self._clock = clock

    async def reports(self, target: Target, private_ca: str | None) -> AsyncGenerator[StageReport, None]:
        """Give the three stages as they end."""
        policy = self._policy.scoped(target.egress_scope())
        address = self._address(policy, target)
        yield address
        dns = await self._dns(policy, target) if address.outcome == "passed" else _skipped(Stage.DNS)
        yield dns
        if address.outcome == "passed" and dns.outcome != "failed":
            yield await self._tls(target, private_ca)
        else:
            yield _skipped(Stage.TLS)

    def _address(self, policy: EgressPolicy, target: Target) -> StageReport:
        try:
            policy.check_url(target.origin)
        except EgressRefusedError as error:
            return failed(Stage.ADDRESS, "egress_refused", str(error))
        return StageReport(stage=Stage.ADDRESS, outcome="passed", facts={"host": target.host})

    async def _dns(self, policy: EgressPolicy, target: Target) -> StageReport:
        """Resolve as a pull would; an address the rules refuse is told as such."""
        if policy.proxy is not None and policy.carried(policy.check_url(target.origin)):
            return StageReport(stage=Stage.DNS, outcome="skipped", reason="through_forward_proxy")
        host = target.origin.raw_host or ""
        began = self._clock.monotonic()
        try:
            async with asyncio.timeout(DNS_SECONDS):
                found = await asyncio.get_running_loop().getaddrinfo(
                    host, target.origin.port, type=socket.SOCK_STREAM
                )
        except TimeoutError:
            return failed(Stage.DNS, "dns_failed", f"{host}: no answer within {DNS_SECONDS:g} s")
        except OSError as error:
            return failed(Stage.DNS, "dns_failed", f"{host}: {error.strerror or 'no such name'}")
        addresses = sorted({str(each[4][0]) for each in found})[:_MOST_SHOWN]
        seconds = self._clock.monotonic() - began
        return StageReport(
            stage=Stage.DNS, outcome="passed", seconds=seconds, facts={"addresses": ", ".join(addresses)}
        )

    async def _tls(self, target: Target, private_ca: str | None) -> StageReport:
        """Ask `/v2/` without a credential: whatever answers, the connection stands."""
        began = self._clock.monotonic()
        try:
            async with (
                asyncio.timeout(ANSWER_SECONDS),
                open_upstream_session(self._policy, target, private_ca) as session,
            ):
                response = await Transport(session).send("GET", target.origin.with_path("/v2/"), {})
                facts = {"status": str(response.status)} | _certificate(response)
                response.close()
        except InvalidAuthorityError as error:
            return failed(Stage.TLS, "private_ca_unreadable", str(error))
        except EgressRefusedError as error:
            return failed(Stage.TLS, "egress_refused", str(error))
        except TimeoutError:
            return failed(Stage.TLS, "timeout", f"{target.host} did not answer within {ANSWER_SECONDS:g} s")
        except RequestFailedError as error:
            return of_verdict(Stage.TLS, error.verdict, self._clock.monotonic() - began)
        seconds = self._clock.monotonic() - began
        return StageReport(stage=Stage.TLS, outcome="passed", seconds=seconds, facts=facts)


def failed(stage: Stage, reason: str, detail: str) -> StageReport:
    """Return the report of a failure, with what to do about it."""
    return StageReport(stage=stage, outcome="failed", reason=reason, detail=detail, remedy=remedy_of(reason))


def of_verdict(stage: Stage, verdict: Verdict, seconds: float) -> StageReport:
    """Return the report of an upstream's answer that is not the thing asked for."""
    return StageReport(
        stage=stage,
        outcome="failed",
        reason=verdict.reason,
        detail=verdict.detail,
        remedy=verdict.remedy or remedy_of(verdict.reason),
        answer=verdict.answer.value,
        seconds=seconds,
    )


def _skipped(stage: Stage) -> StageReport:
    return StageReport(stage=stage, outcome="skipped", reason=_EARLIER)


def _certificate(response: aiohttp.ClientResponse) -> dict[str, str]:
    """Return what the connection says of itself, as far as it still stands."""
    transport = response.connection.transport if response.connection is not None else None
    tls = transport.get_extra_info("ssl_object") if transport is not None else None
    if tls is None:
        return {}
    certificate = tls.getpeercert() or {}
    names = {key: value for part in certificate.get("issuer", ()) for key, value in part}
    issuer = names.get("organizationName") or names.get("commonName") or ""
    facts = {
        "tls_version": tls.version() or "",
        "certificate_ends": str(certificate.get("notAfter", "")),
        "certificate_issuer": issuer,
    }
    return {name: value for name, value in facts.items() if value}
