"""The api's settings, read once from the environment."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import Field, field_validator, model_validator

from vreg_api.store.url import InvalidDatabaseUrlError, parse_database_url
from vreg_shared.issuer_documents import path_of
from vreg_shared.secret import Secret
from vreg_shared.settings import GrantSettings, Listen, ServiceSettings, days

_API: Final = "/api/"


class ApiSettings(GrantSettings, ServiceSettings):
    """Settings of `python -m vreg_api`; names begin with VREG_."""

    database_url: Annotated[
        Secret, Field(description="The database, as sqlite:///path or postgresql://user:password@host/name.")
    ]
    api_listen: Annotated[Listen, Field(description="Address to serve on, as host:port.")] = Listen(
        "127.0.0.1:8600"
    )
    api_tls_certificate: Annotated[
        Path | None, Field(description="PEM file of the listener's certificate chain.")
    ] = None
    api_tls_key: Annotated[Path | None, Field(description="PEM file of the certificate's key.")] = None

    audit_retention: Annotated[
        timedelta | None,
        Field(
            description="How long audit events are kept, as 365d; unset means for ever.",
            ge=timedelta(days=1),
        ),
    ] = None
    pulls_retention: Annotated[
        timedelta, Field(description="How long the log of pulls is kept, as 7d.", ge=timedelta(hours=1))
    ] = timedelta(days=7)

    @field_validator("audit_retention", "pulls_retention", mode="before")
    @classmethod
    def _days(cls, value: object) -> object:
        return days(value)

    @field_validator("database_url")
    @classmethod
    def _known_database(cls, url: Secret) -> Secret:
        try:
            parse_database_url(url)
        except InvalidDatabaseUrlError as error:
            raise ValueError(str(error)) from None
        return url

    @field_validator("api_listen", mode="before")
    @classmethod
    def _address(cls, value: object) -> object:
        return Listen.parse(value) if isinstance(value, str) else value

    @field_validator("api_tls_certificate", "api_tls_key")
    @classmethod
    def _is_file(cls, path: Path | None) -> Path | None:
        if path is not None and not path.is_file():
            message = f"there is no file {path}"
            raise ValueError(message)
        return path

    @field_validator("issuer_url")
    @classmethod
    def _apart_from_the_api(cls, url: str | None) -> str | None:
        """Keep the issuer from where a token is asked for: clouds have none."""
        if url is not None and f"{path_of(url)}/".startswith(_API):
            message = "its path must not begin with /api, which is the API's own"
            raise ValueError(message)
        return url

    @model_validator(mode="after")
    def _both_or_neither(self) -> Self:
        if (self.api_tls_certificate is None) != (self.api_tls_key is None):
            message = "VREG_API_TLS_CERTIFICATE and VREG_API_TLS_KEY are set together or not at all"
            raise ValueError(message)
        return self
