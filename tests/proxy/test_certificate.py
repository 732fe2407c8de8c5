"""The listener's TLS: no old protocols, and a certificate that is replaced while we serve."""

import os
import ssl
import warnings
from pathlib import Path

import pytest
import trustme
import uvicorn
from structlog.testing import capture_logs

from vreg_proxy.certificate import Certificate, server_context


def write(folder: Path, authority: trustme.CA, name: str, *, at: int) -> Certificate:
    """Write a chain and its key with a time of change, as a renewal does."""
    issued = authority.issue_cert(name)
    chain, key = folder / "chain.pem", folder / "key.pem"
    chain.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    key.write_bytes(issued.private_key_pem.bytes())
    for path in (chain, key):
        os.utime(path, ns=(at, at))
    return Certificate(chain, key)


def client(authority: trustme.CA, version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(context)
    context.check_hostname = False
    if version is not None:
        allow(context, version)
    return context


def allow(context: ssl.SSLContext, version: ssl.TLSVersion) -> ssl.SSLContext:
    """Speak this version and no other, however weak it is thought to be."""
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        context.minimum_version = context.maximum_version = version
    context.set_ciphers("ALL:@SECLEVEL=0")
    return context


def shake_hands(server: ssl.SSLContext, asking: ssl.SSLContext, name: str | None = None) -> ssl.SSLObject:
    """Return the client's side of a handshake in memory; raise ssl.SSLError."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = (
        asking.wrap_bio(to_client, to_server, server_hostname=name),
        server.wrap_bio(to_server, to_client, server_side=True),
    )
    done = [False, False]
    for _ in range(10):
        for number, side in enumerate(sides):
            try:
                side.do_handshake()
                done[number] = True
            except ssl.SSLWantReadError:
                pass
    assert all(done)
    return sides[0]


def names(side: ssl.SSLObject) -> list[str]:
    certificate = side.getpeercert()
    assert certificate is not None
    return [str(name) for _, name in certificate["subjectAltName"]]  # type: ignore[misc]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_old_versions_of_tls_are_refused(tmp_path: Path, version: ssl.TLSVersion) -> None:
    authority = trustme.CA()
    ours = write(tmp_path, authority, "registry.test", at=1).context
    lenient = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    lenient.load_cert_chain(tmp_path / "chain.pem", tmp_path / "key.pem")
    assert shake_hands(allow(lenient, version), client(authority, version)).version() is not None
    with pytest.raises(ssl.SSLError):
        shake_hands(ours, client(authority, version))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_new_ones_agree_on_ciphers_with_forward_secrecy(tmp_path: Path, version: ssl.TLSVersion) -> None:
    authority = trustme.CA()
    write(tmp_path, authority, "registry.test", at=1)
    config = uvicorn.Config("x:y", ssl_certfile=tmp_path / "chain.pem", ssl_keyfile=tmp_path / "key.pem")
    context = server_context(config, lambda: ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    chosen = shake_hands(context, client(authority, version)).cipher()
    assert chosen is not None
    assert chosen[0].startswith(("ECDHE-", "TLS_"))
    assert not [
        each["name"]
        for each in context.get_ciphers()
        if not each["aead"] or not each["name"].startswith(("ECDHE-", "TLS_"))
    ]


@pytest.mark.parametrize("name", [None, "registry.test"])
def test_a_renewed_certificate_is_shown_from_the_next_handshake_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str | None
) -> None:
    monkeypatch.setattr("vreg_proxy.certificate.LOOK_SECONDS", 0)
    authority = trustme.CA()
    context = write(tmp_path, authority, "old.test", at=1).context
    assert names(shake_hands(context, client(authority), name)) == ["old.test"]

    (tmp_path / "chain.pem").write_bytes(b"half a certif")
    with capture_logs() as logs:
        assert names(shake_hands(context, client(authority), name)) == ["old.test"]
    assert logs[0]["event"] == "certificate_not_renewed"

    write(tmp_path, authority, "new.test", at=2)
    assert names(shake_hands(context, client(authority), name)) == ["new.test"]
