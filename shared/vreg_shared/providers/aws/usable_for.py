"""Where an AWS identity may be used: accounts of one partition, in any region."""

from typing import Annotated, Literal

from pydantic import Field

from vreg_shared.auth_method import UsableFor
from vreg_shared.provider import InvalidHostError
from vreg_shared.providers.aws.hosts import EcrHost

AccountId = Annotated[str, Field(pattern=r"^[0-9]{12}$", examples=["123456789012"])]


class AwsUsableFor(UsableFor):
    """The registries whose images may be read with the identity."""

    partition: Annotated[
        Literal["aws", "aws-cn", "aws-us-gov", "aws-eusc", "aws-iso", "aws-iso-b", "aws-iso-e", "aws-iso-f"],
        Field(title="Partition", description="Which of AWS's separate clouds; `aws` is the usual one."),
    ] = "aws"
    accounts: Annotated[
        tuple[AccountId, ...],
        Field(
            title="Registry accounts",
            description="The accounts whose registries may be read with this identity.",
            min_length=1,
            max_length=1000,
        ),
    ]

    def permits(self, host: str, repository: str = "") -> bool:
        """Whether `host` is a registry of one of the accounts, in any region of the partition."""
        del repository  # accounts are named by hosts alone
        try:
            place = EcrHost.parse(host)
        except InvalidHostError:
            return False
        return place.partition.name == self.partition and place.account in self.accounts
