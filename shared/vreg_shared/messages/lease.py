"""A lease, as the broker hands it to the proxies: `vreg_leases`, key `lease.<hash of its scope>`.

The header is signed in clear, the credential is sealed to the proxies' key and bound to the header.
"""

import hashlib
import json
from datetime import datetime
from typing import Any, Final

from pydantic import BaseModel, ConfigDict

from vreg_shared.lease import Generation, Lease, RegistryCredential
from vreg_shared.provider import Presentation
from vreg_shared.sealing import SealBrokenError, SealingKey, SealingPublicKey, open_sealed, seal
from vreg_shared.secret import Secret

BUCKET: Final = "vreg_leases"
KEY_FILTER: Final = "lease.*"


class LeaseRecord(BaseModel):
    """A lease with its credential sealed."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    scope: str
    identity_id: str
    hosts: tuple[str, ...]
    generation: str
    issued_at: datetime
    refresh_at: datetime | None
    not_after: datetime | None
    presentation: Presentation
    sealed: str
    repositories: tuple[str, ...] = ()
    proof: str = ""
    private_ca_sha256: tuple[str, ...] = ()
    sealed_for: str = ""
    """Which key of the proxies opens it."""

    def seal_context(self) -> dict[str, Any]:
        """Return the context the credential was sealed in: everything in clear."""
        return {"purpose": "vreg/lease", **self.model_dump(mode="json", exclude={"sealed"})}


def key_of(scope: str) -> str:
    """Return the record's key: scopes hold characters that keys may not."""
    return f"lease.{hashlib.sha256(scope.encode()).hexdigest()[:32]}"


def seal_lease(lease: Lease, to: SealingPublicKey) -> LeaseRecord:
    """Seal a lease's credential for the holders of `to`."""
    record = LeaseRecord(
        scope=lease.scope,
        identity_id=lease.identity_id,
        hosts=lease.hosts,
        generation=str(lease.generation),
        issued_at=lease.issued_at,
        refresh_at=lease.refresh_at,
        not_after=lease.not_after,
        presentation=lease.credential.presentation,
        sealed="",
        repositories=lease.repositories,
        proof=lease.proof,
        private_ca_sha256=lease.private_ca_sha256,
        sealed_for=to.key_id.hex(),
    )
    credential = {"username": lease.credential.username, "secret": lease.credential.secret.reveal()}
    sealed = seal(Secret(json.dumps(credential)), to, record.seal_context())
    return record.model_copy(update={"sealed": sealed})


def open_lease(record: LeaseRecord, with_: SealingKey) -> Lease:
    """Open a lease; raise SealBrokenError, or InvalidGenerationError if the header is not ours."""
    opened = json.loads(open_sealed(record.sealed, with_, record.seal_context()).reveal())
    try:
        credential = RegistryCredential(
            str(opened["username"]), Secret(str(opened["secret"])), record.presentation
        )
    except (KeyError, TypeError) as error:
        raise SealBrokenError("the lease holds no credential; the broker makes a new one") from error
    return Lease(
        scope=record.scope,
        identity_id=record.identity_id,
        hosts=record.hosts,
        generation=Generation.parse(record.generation),
        issued_at=record.issued_at,
        refresh_at=record.refresh_at,
        not_after=record.not_after,
        credential=credential,
        repositories=record.repositories,
        proof=record.proof,
        private_ca_sha256=record.private_ca_sha256,
    )
