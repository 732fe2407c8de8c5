"""An application's certificate and its private key, read as the one type of PEM that each may be."""

from datetime import datetime
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509 import Certificate, load_pem_x509_certificates

from vreg_shared.secret import Secret

_LEAST_BITS: Final = 2048
_CERTIFICATE: Final = "-----BEGIN CERTIFICATE-----"
_PRIVATE: Final = "PRIVATE KEY-----"


def require_certificate(text: str) -> str:
    """Return the first certificate of a PEM text, which names the application's key; raise ValueError."""
    if _PRIVATE in text:
        raise ValueError(
            "this holds a private key: give that in its own field, and only the certificate here"
        )
    begin, _, rest = text.partition(_CERTIFICATE)
    body, end, _ = rest.partition("-----END CERTIFICATE-----")
    if not end or "-----BEGIN" in begin + body:
        raise ValueError(f"must be a certificate in PEM: it begins with {_CERTIFICATE}")
    found = _read(f"{_CERTIFICATE}{body}{end}\n")
    if not isinstance(found.public_key(), RSAPublicKey):
        message = "must be a certificate of an RSA key: Microsoft Entra takes no other"
        raise ValueError(message)  # noqa: TRY004 - pydantic reads no TypeError
    return found.public_bytes(Encoding.PEM).decode()


def require_key(given: Secret) -> Secret:
    """Return the PEM text of a private key; raise ValueError, which never repeats it."""
    text = given.reveal().strip()
    if _CERTIFICATE in text:
        raise ValueError(
            "this holds a certificate: give that in its own field, and only the private key here"
        )
    try:
        key = load_pem_private_key(text.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ValueError("must be an unencrypted private key in PEM (PKCS#8 or PKCS#1)") from None
    if not isinstance(key, RSAPrivateKey) or key.key_size < _LEAST_BITS:
        raise ValueError("must be an RSA key of at least 2048 bits: Microsoft Entra takes no other")
    return Secret(text + "\n")


def fits(certificate: str, private_key: Secret) -> bool:
    """Whether a private key is the one a certificate speaks of; both were read before."""
    key = load_pem_private_key(private_key.reveal().encode(), password=None)
    return key.public_key() == _read(certificate).public_key()


def has_ended(certificate: str, now: datetime) -> bool:
    """Whether a certificate is not valid any more."""
    return _read(certificate).not_valid_after_utc <= now


def begins_later(certificate: str, now: datetime) -> bool:
    """Whether a certificate is not valid yet."""
    return _read(certificate).not_valid_before_utc > now


def _read(pem: str) -> Certificate:
    try:
        return load_pem_x509_certificates(pem.encode())[0]
    except ValueError:
        raise ValueError("must be a certificate in PEM; copy it again, it is damaged") from None
