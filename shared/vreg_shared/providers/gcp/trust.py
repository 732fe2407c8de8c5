"""What Google must be told before it trusts an identity: gcloud commands, with all filled in that we know.

Words in capitals are for the reader to replace.
"""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from vreg_shared.auth_method import TrustStep, UsableFor
from vreg_shared.providers.gcp.usable_for import GcpUsableFor

_CREATOR: Final = "roles/iam.serviceAccountTokenCreator"
_SERVICES: Final = "artifactregistry.googleapis.com iamcredentials.googleapis.com sts.googleapis.com"


@dataclass(frozen=True, slots=True)
class Pool:
    """A workload identity pool and the provider in it that an identity comes by."""

    project_number: str
    pool: str
    provider: str


def pool_name(project_number: str, pool: str) -> str:
    """Return a pool's name as principals begin with it."""
    return f"iam.googleapis.com/projects/{project_number}/locations/global/workloadIdentityPools/{pool}"


def provider_name(project_number: str, pool: str, provider: str) -> str:
    """Return the full resource name of a pool's provider."""
    return f"//{pool_name(project_number, pool)}/providers/{provider}"


def account_member(email: str) -> str:
    """Return a service account as policies name it."""
    return f"serviceAccount:{email}"


def reader(usable_for: UsableFor, member: str) -> TrustStep:
    """Return how `member` is permitted to read one repository; once for each repository."""
    return TrustStep(
        "Let it read the repository",
        _command(
            "gcloud artifacts repositories add-iam-policy-binding REPOSITORY",
            "--location=LOCATION",
            f"--project={_project(usable_for)}",
            f"--member={member}",
            "--role=roles/artifactregistry.reader",
        ),
    )


def chained(
    usable_for: UsableFor, member: str, chain: Sequence[str], *, is_federated: bool = False
) -> tuple[TrustStep, ...]:
    """Return how `member` is permitted to act along the chain, and the chain's end to read."""
    if not chain:
        return (reader(usable_for, member),)
    first = "roles/iam.workloadIdentityUser" if is_federated else _CREATOR
    return (
        _may_act_as(member, chain[0], first),
        *(_may_act_as(account_member(one), next_one, _CREATOR) for one, next_one in pairwise(chain)),
        reader(usable_for, account_member(chain[-1])),
    )


def oidc_provider(pool: Pool, issuer: str, subject: str, audience: str) -> tuple[TrustStep, ...]:
    """Return how a pool trusts an issuer of identity tokens for one subject and audience."""
    provider = _command(
        f"gcloud iam workload-identity-pools providers create-oidc {pool.provider}",
        f"--project={pool.project_number}",
        "--location=global",
        f"--workload-identity-pool={pool.pool}",
        f"--issuer-uri={issuer}",
        "--attribute-mapping=google.subject=assertion.sub",
        f'--attribute-condition=assertion.sub == "{subject}"',
        f"--allowed-audiences={audience}",
    )
    keys = (
        f"curl --silent --fail {issuer}/.well-known/openid-configuration \\\n"
        "  | jq --raw-output .jwks_uri | xargs curl --silent --fail > jwks.json\n"
        "# then create the provider with this option as well, and again after each change of keys:\n"
        "#   --jwk-json-path=jwks.json"
    )
    return (
        _pool(pool),
        TrustStep("Let the pool trust the issuer, for this subject alone", provider),
        TrustStep("Only if Google cannot reach the issuer: give it the keys", keys),
    )


def aws_provider(pool: Pool) -> tuple[TrustStep, ...]:
    """Return how a pool trusts an AWS account."""
    provider = _command(
        f"gcloud iam workload-identity-pools providers create-aws {pool.provider}",
        f"--project={pool.project_number}",
        "--location=global",
        f"--workload-identity-pool={pool.pool}",
        "--account-id=AWS_ACCOUNT_ID",
    )
    return (
        _pool(pool),
        TrustStep("Let the pool trust the AWS account", provider),
    )


def _pool(pool: Pool) -> TrustStep:
    create = _command(
        f"gcloud iam workload-identity-pools create {pool.pool}",
        f"--project={pool.project_number}",
        "--location=global",
    )
    enable = _command(f"gcloud services enable {_SERVICES}", f"--project={pool.project_number}")
    return TrustStep("Make the workload identity pool", f"{enable}\n{create}")


def _may_act_as(member: str, email: str, role: str) -> TrustStep:
    bind = f"gcloud iam service-accounts add-iam-policy-binding {email}"
    return TrustStep(f"Let it act as {email}", _command(bind, f"--member={member}", f"--role={role}"))


def _project(usable_for: UsableFor) -> str:
    """Return the one project that is meant, or a word to replace when there are several."""
    projects = usable_for.projects if isinstance(usable_for, GcpUsableFor) else ()
    return projects[0].replace("/", ":") if len(projects) == 1 else "PROJECT"


def _command(first: str, *options: str) -> str:
    return " \\\n  ".join((first, *map(shlex.quote, options)))
