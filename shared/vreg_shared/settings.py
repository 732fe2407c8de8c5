"""Settings: typed, read once from the environment, refused with a line that names setting and remedy."""

import ipaddress
import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

from pydantic import AliasChoices, BeforeValidator, Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from vreg_shared.errors import VregError
from vreg_shared.secret import Secret

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_LISTEN = re.compile(r"(?P<host>\[[0-9a-fA-F:.]+\]|[^:\s]+):(?P<port>\d{1,5})")
_MAX_PORT = 65535
_TOKEN_FILE_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


class SettingsError(VregError):
    """A setting is missing or wrong; the text is one line and says which and what to do."""


class Listen(str):
    """An address to listen on, as `host:port`."""

    __slots__ = ()

    @property
    def host(self) -> str:
        """The address without brackets."""
        return self.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """The port; 0 lets the system choose."""
        return int(self.rpartition(":")[2])

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `host:port`; raise ValueError."""
        match = _LISTEN.fullmatch(text)
        if match is None or int(match["port"]) > _MAX_PORT:
            message = "write it as host:port, for example 127.0.0.1:8500"
            raise ValueError(message)
        return cls(text)


def _seconds(value: object) -> object:
    """Read a plain number; what is none is left to pydantic, which reads ISO 8601."""
    if not isinstance(value, str):
        return value
    try:
        return timedelta(seconds=float(value))
    except (ValueError, OverflowError):
        return value


Seconds = Annotated[timedelta, BeforeValidator(_seconds)]
"""A time in the environment, as a number of seconds."""


def days(value: object) -> object:
    """Read `365d`; raise ValueError. What is no text is passed on."""
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"(\d{1,5})d", value.strip(), re.ASCII)
    if match is None:
        message = "write it in days, as 365d"
        raise ValueError(message)
    return timedelta(days=int(match[1]))


def _comma_list(value: object) -> object:
    if not isinstance(value, str):
        return value
    return tuple(part.strip() for part in value.split(",") if part.strip())


def _named_paths(value: object) -> object:
    """Read `name=/path,name=/path`; raise ValueError."""
    if not isinstance(value, str):
        return value
    pairs = [part.strip().partition("=") for part in value.split(",") if part.strip()]
    paths = {name: Path(path) for name, _, path in pairs}
    if len(paths) != len(pairs) or not all(
        _TOKEN_FILE_NAME.fullmatch(name) and path.is_absolute() for name, path in paths.items()
    ):
        message = "write it as name=/absolute/path, each name once, of lower-case letters, digits and hyphens"
        raise ValueError(message)
    return paths


class EgressSettings(BaseSettings):
    """Where we may connect, and through what."""

    model_config = SettingsConfigDict(env_prefix="VREG_", extra="ignore", populate_by_name=True)

    ca_bundle: Annotated[
        Path | None,
        Field(description="PEM file of further certificate authorities to trust, besides the system's."),
    ] = None
    https_proxy: Annotated[
        Secret | None,
        Field(
            validation_alias=AliasChoices("HTTPS_PROXY", "https_proxy"),
            description="Proxy for every outgoing call, as http://host:port; it may hold a password.",
        ),
    ] = None
    no_proxy: Annotated[
        str,
        Field(
            validation_alias=AliasChoices("NO_PROXY", "no_proxy"),
            description="Comma-separated hosts and domains to reach without the proxy.",
        ),
    ] = ""
    egress_allowed_cidrs: Annotated[
        tuple[Network, ...],
        NoDecode,
        Field(
            description="Comma-separated networks that upstreams may live in although they are not public."
        ),
    ] = ()
    egress_allowed_names: Annotated[
        tuple[str, ...],
        NoDecode,
        Field(description="Comma-separated names (with *) that may be reached through the proxy."),
    ] = ()

    @field_validator("egress_allowed_cidrs", "egress_allowed_names", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return _comma_list(value)

    @field_validator("ca_bundle")
    @classmethod
    def _exists(cls, path: Path | None) -> Path | None:
        if path is not None and not path.is_file():
            message = f"there is no file {path}"
            raise ValueError(message)
        return path


class ServiceSettings(EgressSettings):
    """What every service needs to know."""

    nats_url: Annotated[str, Field(description="Address of NATS.", pattern=r"^(nats|tls)://[^\s@]+$")] = (
        "nats://127.0.0.1:4222"
    )
    keys: Annotated[Path, Field(description="Folder of this service's own private keys.")]
    public_keys: Annotated[Path, Field(description="Folder of every service's public keys.")]
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Field(description="The least level that is logged.")
    ] = "info"
    log_format: Annotated[Literal["json", "text"], Field(description="JSON lines, or text for a person.")] = (
        "json"
    )


class GrantSettings(BaseSettings):
    """What the operator lets identities use: the machines that vreg runs on, and its own issuer.

    Api and token-broker read it alike: the one refuses to save what the other would refuse to use.
    """

    model_config = SettingsConfigDict(env_prefix="VREG_", extra="ignore", populate_by_name=True)

    ambient_methods: Annotated[
        tuple[str, ...],
        NoDecode,
        Field(
            description="Comma-separated auth methods that may use the token-broker's own machine, such as "
            "aws.instance."
        ),
    ] = ()
    token_files: Annotated[
        dict[str, Path],
        NoDecode,
        Field(
            description="Files of identity tokens that the platform keeps fresh, comma-separated as "
            "name=/path; identities choose among the names."
        ),
    ] = {}
    issuer_url: Annotated[
        str | None,
        Field(
            description="Where the clouds find vreg's own issuer, as https://name/path without port, query "
            "and closing slash; at most 255 characters.",
            max_length=255,
            pattern=r"^https://[a-z0-9]([a-z0-9.-]*[a-z0-9])?(/[A-Za-z0-9._~-]+)*$",
        ),
    ] = None

    @field_validator("ambient_methods", mode="before")
    @classmethod
    def _split_methods(cls, value: object) -> object:
        return _comma_list(value)

    @field_validator("token_files", mode="before")
    @classmethod
    def _split_files(cls, value: object) -> object:
        return _named_paths(value)


SettingsT = TypeVar("SettingsT", bound=BaseSettings)


def load(kind: type[SettingsT]) -> SettingsT:
    """Read settings from the environment; raise SettingsError with one line for the first thing wrong."""
    try:
        return kind()
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        name = _environment_name(kind, str(first["loc"][0])) if first["loc"] else "settings"
        raise SettingsError(f"{name}: {_remedy(kind, first['type'], first['msg'], first['loc'])}") from error


def _environment_name(kind: type[BaseSettings], location: str) -> str:
    """Return the variable's name: pydantic speaks of the field, or of its alias."""
    known = kind.model_fields.get(location)
    if known is None or known.validation_alias is not None:
        return location
    return f"{kind.model_config.get('env_prefix', '')}{location}".upper()


def _remedy(kind: type[BaseSettings], error_type: str, message: str, location: tuple[int | str, ...]) -> str:
    field = kind.model_fields.get(str(location[0])) if location else None
    meaning = f" ({field.description})" if field is not None and field.description else ""
    if error_type == "missing":
        return f"is not set; set it{meaning}"
    return f"{message.removeprefix('Value error, ')}{meaning}"
