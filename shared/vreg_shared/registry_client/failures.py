"""Names for what can go wrong between us and an answer, each with its own remedy."""

import ssl
from errno import ECONNREFUSED
from typing import Final

import aiohttp
from yarl import URL

from vreg_shared.egress import ConnectionLostError, EgressRefusedError
from vreg_shared.provider import Answer, Verdict

BROKEN: Final = Verdict(Answer.UNAVAILABLE, "connection_failed")


def failure_of(error: BaseException, url: URL) -> Verdict | None:  # noqa: C901, PLR0911, PLR0912 - a table, in the order of aiohttp's classes
    """Return the verdict on a failed exchange, or None for an error that is not one of the network.

    Details name the host but never the URL, whose query may be a signature.
    """
    host = url.raw_host or ""
    match error:
        case EgressRefusedError() | aiohttp.InvalidURL():
            return _verdict("egress_refused", str(error) if isinstance(error, EgressRefusedError) else host)
        case aiohttp.ClientConnectorDNSError():
            return _verdict("dns_failed", f"{host}: {error.os_error.strerror or 'no such name'}")
        case aiohttp.ClientConnectorCertificateError():
            return _verdict("tls_failed", f"{host}: {_certificate_problem(error.certificate_error)}")
        case aiohttp.ClientConnectorSSLError():
            return _verdict("tls_failed", f"{host}: {error.os_error.strerror or 'handshake failed'}")
        case ssl.SSLError():
            return _verdict("tls_failed", f"{host}: {error.reason or 'handshake failed'}")
        case aiohttp.ClientProxyConnectionError():
            return _verdict("proxy_unreachable", error.os_error.strerror or "")
        case aiohttp.ClientHttpProxyError():
            return _verdict("proxy_refused", f"the proxy answered {error.status} to CONNECT {host}")
        case aiohttp.ClientConnectorError():
            refused = error.os_error.errno == ECONNREFUSED
            reason = "connection_refused" if refused else "connection_failed"
            return _verdict(reason, f"{host}: {error.os_error.strerror or ''}")
        case TimeoutError():
            return _verdict("timeout", f"{host} did not answer in time")
        case aiohttp.ClientResponseError():
            return _verdict("bad_answer", f"{host}'s answer is not HTTP as we accept it")
        case aiohttp.ClientPayloadError():
            return _verdict("body_truncated", f"{host} ended its answer early")
        case ConnectionLostError() | aiohttp.ClientError() | OSError():
            return _verdict("connection_failed", f"{host} closed the connection")
        case _:
            return None


def _certificate_problem(error: Exception) -> str:
    return getattr(error, "verify_message", "") or "the certificate is not valid for this name"


def _verdict(reason: str, detail: str) -> Verdict:
    return Verdict(Answer.UNAVAILABLE, reason, detail=detail)
