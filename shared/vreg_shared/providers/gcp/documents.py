"""Google's own JSON files for identities: fields we know are taken out, what is dangerous is refused by name.

Google's libraries believe such a file. It can name URLs to send proofs to, files to read and commands to run,
so none of that is taken over: endpoints are constants, and files are the operator's to name.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from vreg_shared.auth_method import AuthMethod
from vreg_shared.provider import DocumentRefusedError, ForeignDocumentError
from vreg_shared.providers.gcp.auth_methods import (
    AwsFederation,
    ServiceAccountKey,
    WorkloadIdentityFederation,
)

_UNIVERSE: Final = "googleapis.com"
_TOKEN_URIS: Final = (
    "https://oauth2.googleapis.com/token",
    "https://accounts.google.com/o/oauth2/token",
    "https://www.googleapis.com/oauth2/v4/token",
)
_STS_URL: Final = "https://sts.googleapis.com/v1/token"
_AUDIENCE: Final = re.compile(
    r"//iam\.googleapis\.com/projects/(?P<project_number>[0-9]+)/locations/global"
    r"/workloadIdentityPools/(?P<pool>[a-z0-9-]+)/providers/(?P<provider>[a-z0-9-]+)"
)
_IMPERSONATION: Final = re.compile(
    r"https://iamcredentials\.googleapis\.com/v1/projects/-/serviceAccounts/"
    r"(?P<email>[A-Za-z0-9@._-]+):generateAccessToken"
)
_JWT: Final = "urn:ietf:params:oauth:token-type:jwt"
_SIGNED_TYPES: Final = (_JWT, "urn:ietf:params:oauth:token-type:id_token")
_AWS_REQUEST: Final = "urn:ietf:params:aws:token-type:aws4_request"
_STS_OF_AWS: Final = re.compile(
    r"https://sts\.(?:\{region\}|(?P<region>[a-z0-9-]+))\.amazonaws\.com(?:[/?].*)?"
)
_SOURCES: Final = {
    "executable": "commands are never run",
    "certificate": "client certificates are not supported",
    "url": "no address out of a file is asked; let the operator name a token file (VREG_TOKEN_FILES)",
    "file": "no path out of a file is read; let the operator name it (VREG_TOKEN_FILES), and give its name",
}


def read_document(document: Mapping[str, Any]) -> AuthMethod:
    """Return the auth method a Google JSON file describes.

    Raises DocumentRefusedError, naming the field, or pydantic's ValidationError.
    """
    kind = document.get("type")
    if kind not in ("service_account", "external_account"):  # no set: it may be of any type
        raise ForeignDocumentError("type: must be service_account or external_account")
    if document.get("universe_domain", _UNIVERSE) != _UNIVERSE:
        raise DocumentRefusedError(f"universe_domain: only {_UNIVERSE} is supported")
    return _service_account(document) if kind == "service_account" else _external_account(document)


def _service_account(document: Mapping[str, Any]) -> AuthMethod:
    if document.get("token_uri", _TOKEN_URIS[0]) not in _TOKEN_URIS:
        raise DocumentRefusedError("token_uri: is not Google's; this file would send the proof elsewhere")
    fields = ("client_email", "private_key_id", "private_key")
    return ServiceAccountKey.model_validate({name: document.get(name) for name in fields})


def _external_account(document: Mapping[str, Any]) -> AuthMethod:
    if document.get("token_url", _STS_URL) != _STS_URL:
        raise DocumentRefusedError(f"token_url: must be {_STS_URL}; this file would send the proof elsewhere")
    known: dict[str, Any] = {**_provider(document), "impersonate": _impersonated(document)}
    lifetime = _mapping(document, "service_account_impersonation").get("token_lifetime_seconds")
    if lifetime is not None:
        known["lifetime_seconds"] = lifetime
    source = _mapping(document, "credential_source")
    if "environment_id" in source:
        return _aws(document, source, known)
    for name, why in _SOURCES.items():
        if name in source:
            raise DocumentRefusedError(f"credential_source.{name}: {why}")
    if source:
        raise DocumentRefusedError("credential_source: leave it out; vreg's own issuer signs the token")
    if document.get("subject_token_type", _JWT) not in _SIGNED_TYPES:
        raise DocumentRefusedError(f"subject_token_type: must be {_JWT}")
    return WorkloadIdentityFederation.model_validate(known)


def _aws(document: Mapping[str, Any], source: Mapping[str, Any], known: dict[str, Any]) -> AuthMethod:
    """Read the source that gcloud writes for AWS. Its URLs only say which machine was meant: EC2 has one."""
    if source["environment_id"] != "aws1":
        raise DocumentRefusedError("credential_source.environment_id: must be aws1")
    if document.get("subject_token_type", _AWS_REQUEST) != _AWS_REQUEST:
        raise DocumentRefusedError(f"subject_token_type: must be {_AWS_REQUEST}")
    for name in ("executable", "certificate", "file"):
        if name in source:
            raise DocumentRefusedError(f"credential_source.{name}: {_SOURCES[name]}")
    place = _STS_OF_AWS.fullmatch(str(source.get("regional_cred_verification_url", "")))
    if place is None:
        raise DocumentRefusedError("credential_source.regional_cred_verification_url: is not AWS's STS")
    region = {"region": place["region"]} if place["region"] else {}
    return AwsFederation.model_validate({**known, **region, "source": "instance"})


def _provider(document: Mapping[str, Any]) -> Mapping[str, str]:
    match = _AUDIENCE.fullmatch(str(document.get("audience", "")))
    if match is None:
        raise DocumentRefusedError(
            "audience: must be the full name of a workload identity pool's provider, with the project's "
            "number; workforce pools are not supported"
        )
    return match.groupdict()


def _impersonated(document: Mapping[str, Any]) -> tuple[str, ...]:
    url = document.get("service_account_impersonation_url")
    if url is None:
        return ()
    match = _IMPERSONATION.fullmatch(str(url))
    if match is None:
        raise DocumentRefusedError(
            "service_account_impersonation_url: is not Google's; this file would send the proof elsewhere"
        )
    return (match["email"],)


def _mapping(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = document.get(name, {})
    if not isinstance(found, Mapping):
        raise DocumentRefusedError(f"{name}: must be an object")
    return found
