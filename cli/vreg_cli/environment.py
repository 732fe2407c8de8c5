"""What each process gets to see of our environment: an allow-list, and of the settings only its own."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from pydantic import AliasChoices
from pydantic_settings import BaseSettings

from vreg_cli.home import Home
from vreg_shared.catalogue import catalogue
from vreg_shared.key_files import Service
from vreg_shared.platform_environment import platform_environment
from vreg_shared.settings import GrantSettings, Listen, ServiceSettings

_SYSTEM: Final = ("PATH", "LANG", "LC_ALL", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR")
_OF_SERVICE: Final[Mapping[Service, tuple[str, ...]]] = {
    Service.API: ("VREG_API_", "VREG_AUDIT_", "VREG_PULLS_", "VREG_DATABASE_URL"),
    Service.TOKEN_BROKER: ("VREG_BROKER_", "VREG_HEALTH_"),
    Service.PROXY: ("VREG_PROXY_",),
}
"""How the names of a service's own settings begin; a database's password is the api's business alone."""
_DECLARED: Final[Mapping[Service, tuple[type[BaseSettings], ...]]] = {
    Service.API: (ServiceSettings, GrantSettings),
    Service.TOKEN_BROKER: (ServiceSettings, GrantSettings),
    Service.PROXY: (ServiceSettings,),
}
"""What a service reads besides; what identities may use of this machine is no business of a proxy."""
_OF_COMMAND: Final = ("VREG_API_TOKEN",)
"""What the command needs as a client of the API; no service gets it."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the parts of one vreg listen."""

    proxy: Listen
    api: Listen
    nats: Listen
    metrics: Listen


def service_environment(
    service: Service, home: Home, addresses: Addresses, workers: int, inherited: Mapping[str, str]
) -> dict[str, str]:
    """Return a service's whole environment: what it may inherit, and what we decide."""
    own, declared = _OF_SERVICE[service], _declared_settings(service)
    passed = {
        name: text
        for name, text in inherited.items()
        if (name in _SYSTEM or name in declared or name.startswith(own)) and name not in _OF_COMMAND
    }
    common = {
        "VREG_NATS_URL": f"nats://{addresses.nats}",
        "VREG_KEYS": str(home.key_folder(service).path),
        "VREG_PUBLIC_KEYS": str(home.public_keys.path),
    }
    return passed | common | _decided(service, home, addresses, workers, inherited)


def system_environment(inherited: Mapping[str, str]) -> dict[str, str]:
    """Return what a program gets that has no settings of ours."""
    return {name: text for name, text in inherited.items() if name in _SYSTEM}


def _decided(
    service: Service, home: Home, addresses: Addresses, workers: int, inherited: Mapping[str, str]
) -> dict[str, str]:
    if service is Service.API:
        database = inherited.get("VREG_DATABASE_URL") or f"sqlite+aiosqlite:///{home.database}"
        return {"VREG_API_LISTEN": str(addresses.api), "VREG_DATABASE_URL": database}
    if service is Service.TOKEN_BROKER:
        return {"VREG_BROKER_STATE": str(home.broker_state), **_of_platform(inherited)}
    return {
        "VREG_PROXY_LISTEN": str(addresses.proxy),
        "VREG_PROXY_STATE": str(home.proxy_state),
        "VREG_PROXY_CACHE": inherited.get("VREG_PROXY_CACHE") or str(home.proxy_cache),
        "VREG_PROXY_WORKERS": str(workers),
        "VREG_PROXY_METRICS_LISTEN": str(addresses.metrics),
    }


def _of_platform(inherited: Mapping[str, str]) -> dict[str, str]:
    """Return what the platform tells of the machine's identity, for the methods that may use it."""
    permitted = inherited.get("VREG_AMBIENT_METHODS", "").split(",")
    return platform_environment(catalogue(), (tag.strip() for tag in permitted), inherited)


def _declared_settings(service: Service) -> frozenset[str]:
    """Return the names of what `vreg_shared.settings` declares for a service."""
    return frozenset(name for kind in _DECLARED[service] for name in _variables(kind))


def _variables(kind: type[BaseSettings]) -> Iterator[str]:
    for name, field in kind.model_fields.items():
        alias = field.validation_alias
        if isinstance(alias, AliasChoices):
            yield from (choice for choice in alias.choices if isinstance(choice, str))
        else:
            yield f"VREG_{name.upper()}"
