"""A private CA, known by its certificates: the holder of one of their keys can pose as the host."""

from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from vreg_shared.errors import VregError

NONE: Final[frozenset[str]] = frozenset()


class InvalidPrivateCaError(VregError):
    """The text is not the PEM of certificates, or not that alone: paste the certificates again."""


def fingerprints(pem: str | None) -> frozenset[str]:
    """Return the SHA-256 of each certificate as lower-case hex; raise InvalidPrivateCaError.

    Nothing may stand beside the certificates: TLS libraries trust kinds of block that parsers pass over.
    """
    if pem is None:
        return NONE
    try:
        certificates = x509.load_pem_x509_certificates(pem.encode())
    except ValueError as error:
        raise InvalidPrivateCaError("the private CA holds no certificate in PEM that can be read") from error
    if "".join(each.public_bytes(Encoding.PEM).decode() for each in certificates) != pem:
        raise InvalidPrivateCaError("the private CA holds something beside its certificates")
    return frozenset(each.fingerprint(SHA256()).hex() for each in certificates)
