"""An issuer of identity tokens that tests own: it signs what it is told, and serves its keys under a name."""

import base64
import json
import uuid

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256

HOST = "issuer.example.test"
URL = f"https://{HOST}/oidc"


class TestIssuer:
    """Two calls: `documents` for the published site, `token` for an identity token of any claims."""

    __test__ = False

    def __init__(self, url: str = URL) -> None:
        self.url = url
        self.kid = uuid.uuid4().hex
        self._key: RSAPrivateKey = generate_private_key(public_exponent=65537, key_size=2048)

    def documents(self) -> dict[str, str]:
        """Return what the issuer serves, by path below its host."""
        path = self.url.removeprefix(f"https://{HOST}")
        numbers = self._key.public_key().public_numbers()
        key = {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": self.kid}
        key |= {"n": _number(numbers.n), "e": _number(numbers.e)}
        discovery = {
            "issuer": self.url,
            "jwks_uri": f"{self.url}/jwks.json",
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
        }
        return {
            f"{path}/.well-known/openid-configuration": json.dumps(discovery),
            f"{path}/jwks.json": json.dumps({"keys": [key]}),
        }

    def token(self, **claims: object) -> str:
        """Return a signed token with exactly these claims, besides `iss` and `jti`."""
        header = {"alg": "RS256", "typ": "JWT", "kid": self.kid}
        body = {"iss": self.url, "jti": uuid.uuid4().hex, **claims}
        signed = f"{_encoded(json.dumps(header).encode())}.{_encoded(json.dumps(body).encode())}"
        return f"{signed}.{_encoded(self._key.sign(signed.encode(), PKCS1v15(), SHA256()))}"


def _number(value: int) -> str:
    return _encoded(value.to_bytes((value.bit_length() + 7) // 8))


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
