"""Any OCI registry with a user name and password, or none: Docker Hub, Harbor, Quay, GHCR, GitLab."""

from typing import Final

from vreg_shared.provider import MethodExample, Provider
from vreg_shared.providers.basic.auth_methods import Password
from vreg_shared.providers.basic.registry import OCI
from vreg_shared.providers.basic.usable_for import BasicUsableFor
from vreg_shared.secret import Secret

PROVIDER: Final = Provider(
    name="basic",
    title="Any OCI registry",
    kinds=(OCI,),
    methods=(Password,),
    usable_for=BasicUsableFor,
    examples=(
        MethodExample(
            method=Password(username="robot$vreg", password=Secret("example-password")),
            usable_for=BasicUsableFor(hosts=("harbor.example.com",)),
            kind="oci",
            host="harbor.example.com",
        ),
    ),
)
