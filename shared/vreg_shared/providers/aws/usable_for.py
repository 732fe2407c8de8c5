"""Where an AWS identity may be used: accounts of one partition in any region, and ECR Public."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from vreg_shared.auth_method import UsableFor
from vreg_shared.provider import InvalidHostError
from vreg_shared.providers.aws.hosts import ECR_PUBLIC_PLACE, EcrHost, is_ecr_public_host

AccountId = Annotated[str, Field(pattern=r"^[0-9]{12}$", examples=["123456789012"])]


class AwsUsableFor(UsableFor):
    """The registries whose images may be read with the identity."""

    partition: Annotated[
        Literal["aws", "aws-cn", "aws-us-gov", "aws-eusc", "aws-iso", "aws-iso-b", "aws-iso-e", "aws-iso-f"],
        Field(
            title="Partition",
            description="Which of AWS's separate clouds; `aws` is the usual one, and has ECR Public.",
        ),
    ] = "aws"
    accounts: Annotated[
        tuple[AccountId, ...],
        Field(
            title="Registry accounts",
            description="The accounts whose private registries may be read with this identity; none for an "
            "identity that is used with ECR Public alone.",
            max_length=1000,
        ),
    ] = ()

    @model_validator(mode="after")
    def _is_usable_for_something(self) -> Self:
        if not self.accounts and self.partition != ECR_PUBLIC_PLACE.partition.name:
            message = "name the accounts: only the partition aws has ECR Public, which needs none"
            raise ValueError(message)
        return self

    def permits(self, host: str, repository: str = "") -> bool:
        """Whether `host` is a registry of one of the accounts, in any region, or ECR Public."""
        del repository  # accounts are named by hosts alone
        if is_ecr_public_host(host):
            return self.partition == ECR_PUBLIC_PLACE.partition.name
        try:
            place = EcrHost.parse(host)
        except InvalidHostError:
            return False
        return place.partition.name == self.partition and place.account in self.accounts
