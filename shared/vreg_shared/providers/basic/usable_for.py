"""Where a password may be sent: exactly the named hosts."""

from typing import Annotated

from pydantic import Field, field_validator

from vreg_shared.auth_method import UsableFor
from vreg_shared.provider import InvalidHostError
from vreg_shared.providers.basic.hosts import OciHost


class BasicUsableFor(UsableFor):
    """The registry hosts that may see the password."""

    hosts: Annotated[
        tuple[str, ...],
        Field(
            title="Registry hosts",
            description="Host names, with port where it is not 443.",
            examples=[["harbor.example.com"]],
            min_length=1,
            max_length=100,
        ),
    ]

    @field_validator("hosts")
    @classmethod
    def _parsed(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        lowered = tuple(host.lower() for host in hosts)
        try:
            for host in lowered:
                OciHost.parse(host)
        except InvalidHostError as error:
            raise ValueError(str(error)) from error
        return lowered

    def permits(self, host: str, repository: str = "") -> bool:
        """Whether `host` is one of the named hosts, port and all."""
        del repository
        return host in self.hosts
