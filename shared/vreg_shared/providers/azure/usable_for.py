"""Where an Azure identity may be used: exactly the named registries."""

from typing import Annotated

from pydantic import Field, field_validator

from vreg_shared.auth_method import UsableFor
from vreg_shared.provider import InvalidHostError
from vreg_shared.providers.azure.hosts import AcrHost


class AzureUsableFor(UsableFor):
    """The registries whose images may be read with the identity."""

    registries: Annotated[
        tuple[str, ...],
        Field(
            title="Registries",
            description="Login servers, as the registry's overview shows them; not the resource's name.",
            examples=[["contoso.azurecr.io"]],
            min_length=1,
            max_length=100,
        ),
    ]

    @field_validator("registries")
    @classmethod
    def _parsed(cls, registries: tuple[str, ...]) -> tuple[str, ...]:
        lowered = tuple(host.lower() for host in registries)
        try:
            for host in lowered:
                AcrHost.parse(host)
        except InvalidHostError as error:
            raise ValueError(str(error)) from error
        return lowered

    def permits(self, host: str, repository: str = "") -> bool:
        """Whether `host` is one of the named registries."""
        del repository  # roles, not hosts, say which repositories
        return host in self.registries
