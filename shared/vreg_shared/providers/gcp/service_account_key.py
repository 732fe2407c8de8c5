"""The private key of a service account: read as the one type that Google makes, so that no other is kept."""

from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from vreg_shared.secret import Secret

_BEGIN: Final = "-----BEGIN PRIVATE KEY-----"
_END: Final = "-----END PRIVATE KEY-----"
_LEAST_BITS: Final = 2048


def require_rsa_key(given: Secret) -> Secret:
    r"""Return the PEM text with real line ends; raise ValueError, which never repeats it.

    In a key file lines end in `\n`, two characters; whoever copies the value copies those.
    """
    text = given.reveal().replace("\\n", "\n").strip()
    if not (text.startswith(_BEGIN) and text.endswith(_END)):
        raise ValueError(f"must be the whole of private_key in the key file: it begins with {_BEGIN}")
    try:
        key = load_pem_private_key(text.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ValueError("must be an unencrypted PKCS#8 key in PEM; copy it again, it is damaged") from None
    if not isinstance(key, RSAPrivateKey) or key.key_size < _LEAST_BITS:
        raise ValueError("must be an RSA key of at least 2048 bits, as Google makes them")
    return Secret(text + "\n")
