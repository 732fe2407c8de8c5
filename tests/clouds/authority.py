"""A certificate authority for tests: a leaf certificate for any host name, made when first asked for."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme


class Authority:
    """Issues for every name, and bad certificates too."""

    def __init__(self) -> None:
        self._own = trustme.CA(organization_name="vreg test authority")
        self._stranger = trustme.CA(organization_name="nobody you trust")
        self._contexts: dict[tuple[str, str], ssl.SSLContext] = {}

    def write_bundle(self, path: Path) -> Path:
        """Write the CA bundle that clients have to trust; return its path."""
        self._own.cert_pem.write_to_path(str(path))
        return path

    def client_context(self) -> ssl.SSLContext:
        """Return a context for a client that trusts this authority and no other."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._own.configure_trust(context)
        return context

    def context(self, host: str) -> ssl.SSLContext:
        """Return a server context with a good certificate for `host`."""
        return self._context("good", host)

    def stranger(self, host: str) -> ssl.SSLContext:
        """Return a server context whose certificate names `host` and is signed by somebody else."""
        return self._context("stranger", host)

    def expired(self, host: str) -> ssl.SSLContext:
        """Return a server context whose certificate ended yesterday."""
        return self._context("expired", host)

    def _context(self, kind: str, host: str) -> ssl.SSLContext:
        if (kind, host) not in self._contexts:
            self._contexts[kind, host] = _server_context(self._issue(kind, host))
        return self._contexts[kind, host]

    def _issue(self, kind: str, host: str) -> trustme.LeafCert:
        if kind == "stranger":
            return self._stranger.issue_cert(host)
        if kind == "expired":
            return self._own.issue_cert(host, not_after=datetime.now(UTC) - timedelta(days=1))
        return self._own.issue_cert(host)


def _server_context(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    certificate.configure_cert(context)
    return context
