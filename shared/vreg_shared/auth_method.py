"""Proving who we are to a cloud, declared: a method's form, where it may be used, how trust is set up."""

import json
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from vreg_shared.secret import Secret

TokenFileName = Annotated[
    str | None,
    Field(
        title="Token file",
        description="Name of a token file that the operator configured (VREG_TOKEN_FILES). "
        "Empty: vreg's own issuer signs the token.",
        examples=["irsa"],
        pattern=r"^[a-z0-9][a-z0-9-]{0,62}$",
    ),
]


@dataclass(frozen=True, slots=True)
class IdentityTokenNeed:
    """Rung 1 of the ladder, where it is a signed token: whom it is meant for, and who signs it.

    `file` is the name of a token file that the operator configured; None means vreg's own issuer.
    """

    audience: str
    file: str | None = None


@dataclass(frozen=True, slots=True)
class Objection:
    """Why a well-formed auth method is not accepted: the field, a stable code, and what to do."""

    field: str
    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustContext:
    """What the cloud must be told of an identity; vreg makes `subject` and `external_id`, and keeps them.

    `issuer_url` is None while the operator has configured none.
    """

    identity_name: str
    external_id: str
    subject: str
    issuer_url: str | None
    usable_for: "UsableFor"


@dataclass(frozen=True, slots=True)
class TrustStep:
    """One thing to do in the cloud: type `text` (`sh`), or put it (`json`) into `file`."""

    title: str
    text: str
    language: str = "sh"
    file: str | None = None


def _plain(fingerprint: object) -> object:
    return fingerprint.replace(":", "").lower() if isinstance(fingerprint, str) else fingerprint


Fingerprint = Annotated[
    str, BeforeValidator(_plain, json_schema_input_type=str), StringConstraints(pattern=r"^[0-9a-f]{64}$")
]
"""Lower-case hex; as `openssl x509 -fingerprint -sha256` writes it, it is taken too."""


class UsableFor(BaseModel):
    """Where an identity's secrets may be sent. It is part of the seal: widening needs the secret again."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    private_ca_sha256: Annotated[
        tuple[Fingerprint, ...],
        Field(
            title="Private CAs",
            description="SHA-256 fingerprints of the private authorities' certificates that an upstream may "
            "be known by: whoever holds their keys could pose as the host and read what is sent there.",
            max_length=50,
            exclude_if=lambda given: not given,
        ),
    ] = ()

    def permits_private_ca(self, fingerprints: frozenset[str]) -> bool:
        """Whether a credential may be sent to hosts that only these certificates vouch for."""
        return fingerprints <= set(self.private_ca_sha256)

    @abstractmethod
    def permits(self, host: str, repository: str = "") -> bool:
        """Whether a credential got with the identity may be sent to this lower-case registry host.

        `repository` is what stands before every repository's name that is asked for there.
        """


class AuthMethod(BaseModel):
    """One way to prove who we are to a cloud; a subclass is also its form.

    Fields of type Secret are the secrets; all others are plain settings.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
    tag: ClassVar[str]
    title: ClassVar[str]
    help: ClassVar[str]
    is_ambient: ClassVar[bool] = False
    """Whether it uses what the broker's own machine is in its cloud; off until the operator permits it."""
    platform_variables: ClassVar[tuple[str, ...]] = ()
    """Environment variables by which the machine's platform tells an ambient method whom to ask, and how."""

    @classmethod
    def secret_fields(cls) -> frozenset[str]:
        """Return the names of the fields that hold secrets."""
        return frozenset(name for name, info in cls.model_fields.items() if _is_secret(info.annotation))

    @property
    def identity_token(self) -> IdentityTokenNeed | None:
        """The signed token that this method begins with, or None."""
        return None

    def objections(self, usable_for: UsableFor, now: datetime) -> tuple[Objection, ...]:
        """Return what is known to be wrong before anybody is asked; the fields are well formed by then.

        It reads settings alone: when they change, the secrets are not at hand.
        """
        del usable_for, now
        return ()

    def trust_steps(self, context: TrustContext) -> tuple[TrustStep, ...]:
        """Return what to do in the cloud, in order, with everything filled in that vreg knows."""
        del context
        return ()

    def plain_settings(self) -> dict[str, Any]:
        """Return the fields that are no secrets, as JSON values."""
        return self.model_dump(mode="json", exclude=set(self.secret_fields()))

    def secrets_json(self) -> Secret | None:
        """Return the secret fields that are set as one JSON text, or None when there are none."""
        values = {name: getattr(self, name) for name in sorted(self.secret_fields())}
        revealed = {name: secret.reveal() for name, secret in values.items() if secret is not None}
        return Secret(json.dumps(revealed)) if revealed else None

    @classmethod
    def from_parts(cls, settings: Mapping[str, Any], secrets_json: Secret | None) -> Self:
        """Join what `plain_settings` and `secrets_json` took apart; raise pydantic's ValidationError."""
        secrets = json.loads(secrets_json.reveal()) if secrets_json is not None else {}
        return cls.model_validate({**settings, **secrets})


def _is_secret(annotation: object) -> bool:
    return annotation is Secret or Secret in getattr(annotation, "__args__", ())
