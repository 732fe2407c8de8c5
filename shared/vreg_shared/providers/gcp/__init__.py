"""Google Cloud: Artifact Registry in every location, gcr.io, and S3NS for what everybody may read."""

from typing import Final

from vreg_shared.auth_method import AuthMethod
from vreg_shared.provider import MethodExample, Provider
from vreg_shared.providers.gcp.auth_methods import (
    AwsAccessKeyFederation,
    AwsFederation,
    Impersonation,
    Metadata,
    ServiceAccountKey,
    WorkloadIdentityFederation,
)
from vreg_shared.providers.gcp.documents import read_document
from vreg_shared.providers.gcp.example_key import EXAMPLE_KEY
from vreg_shared.providers.gcp.refusals import REFUSALS
from vreg_shared.providers.gcp.registry import GAR
from vreg_shared.providers.gcp.usable_for import GcpUsableFor
from vreg_shared.secret import Secret

_BROKER: Final = "vreg-broker@my-project.iam.gserviceaccount.com"
_PULLER: Final = "vreg-pull@my-project.iam.gserviceaccount.com"
_KEY_ID: Final = "0123456789abcdef0123456789abcdef01234567"


def _example(method: AuthMethod) -> MethodExample:
    return MethodExample(
        method=method,
        usable_for=GcpUsableFor(projects=("my-project",)),
        kind="gar",
        host="europe-west3-docker.pkg.dev",
        prefix="my-project/my-repository",
    )


PROVIDER: Final = Provider(
    name="gcp",
    title="Google Cloud",
    kinds=(GAR,),
    methods=(
        WorkloadIdentityFederation,
        Metadata,
        AwsFederation,
        ServiceAccountKey,
        Impersonation,
        AwsAccessKeyFederation,
    ),
    usable_for=GcpUsableFor,
    refusals=REFUSALS,
    read_document=read_document,
    examples=(
        _example(WorkloadIdentityFederation(project_number="123456789012", pool="vreg", provider="vreg")),
        _example(Metadata()),
        _example(
            AwsFederation(
                project_number="123456789012",
                pool="vreg",
                provider="vreg-aws",
                region="eu-west-1",
                source="container",
                impersonate=(_PULLER,),
            )
        ),
        _example(
            ServiceAccountKey(client_email=_PULLER, private_key_id=_KEY_ID, private_key=Secret(EXAMPLE_KEY))
        ),
        _example(
            Impersonation(
                client_email=_BROKER,
                private_key_id=_KEY_ID,
                private_key=Secret(EXAMPLE_KEY),
                impersonate=(_PULLER,),
            )
        ),
        _example(
            AwsAccessKeyFederation(
                project_number="123456789012",
                pool="vreg",
                provider="vreg-aws",
                region="eu-west-1",
                access_key_id="AKIAIOSFODNN7EXAMPLE",
                secret_access_key=Secret("example-secret-access-key-of-40-characters"),
            )
        ),
    ),
)
