"""Certificates people paste: read, and written anew without whatever stood around them."""

import re
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

_MAX_CERTIFICATES: Final = 50
_PRIVATE_KEY: Final = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----")


def parsed_certificates(text: str) -> str:
    """Return the certificates in `text` as PEM and nothing else; raise ValueError."""
    if _PRIVATE_KEY.search(text):
        message = "holds a private key: paste the authority's certificate alone, and treat that key as leaked"
        raise ValueError(message)
    try:
        certificates = x509.load_pem_x509_certificates(text.encode())
    except ValueError:
        message = "holds no certificate in PEM (-----BEGIN CERTIFICATE-----) that can be read"
        raise ValueError(message) from None
    if len(certificates) > _MAX_CERTIFICATES:
        message = f"holds more than {_MAX_CERTIFICATES} certificates"
        raise ValueError(message)
    return "".join(each.public_bytes(Encoding.PEM).decode() for each in certificates)
