"""The proxy's settings, read once from the environment."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Final, Self
from urllib.parse import urlsplit

from pydantic import ByteSize, Field, field_validator, model_validator

from vreg_proxy.cache.limits import KEEP_FREE, SCRUB_RATE, Limits
from vreg_shared.registry_client import MAX_BODIES
from vreg_shared.settings import Listen, Seconds, ServiceSettings

MOST_DAYS: Final = 10_000
_EVERYWHERE = frozenset({"0.0.0.0", "::", "*"})  # noqa: S104 - compared with, not bound to


class ProxySettings(ServiceSettings):
    """Settings of `python -m vreg_proxy`; names begin with VREG_."""

    proxy_listen: Annotated[Listen, Field(description="Address to serve on, as host:port.")] = Listen(
        "127.0.0.1:8500"
    )
    proxy_external_url: Annotated[
        str | None,
        Field(description="The URL clients reach the proxy by, as https://registry.example.com."),
    ] = None
    proxy_state: Annotated[Path, Field(description="Folder for signed records, kept over restarts.")]
    proxy_cache: Annotated[Path, Field(description="Folder for cached content.")]
    proxy_cache_size: Annotated[
        ByteSize | None,
        Field(description="Bytes the cache may keep, as 50GiB; unset means until the disk is almost full."),
    ] = None
    proxy_cache_keep_free: Annotated[
        ByteSize, Field(description="Bytes the cache leaves free on its disk, as 1GiB.")
    ] = ByteSize(KEEP_FREE)
    proxy_cache_max_idle: Annotated[
        timedelta | None,
        Field(description="Days after which what nobody pulled is removed, as 30; unset means never."),
    ] = None
    proxy_cache_scrub_rate: Annotated[
        ByteSize,
        Field(description="Bytes a second to hash again in search of bit rot, as 8MiB; 0 turns it off."),
    ] = ByteSize(SCRUB_RATE)
    proxy_workers: Annotated[int, Field(description="Number of worker processes.", ge=1, le=256)] = 1
    proxy_tls_certificate: Annotated[
        Path | None, Field(description="PEM file of the listener's certificate chain.")
    ] = None
    proxy_tls_key: Annotated[Path | None, Field(description="PEM file of the certificate's key.")] = None
    proxy_mirror_namespace: Annotated[
        str | None,
        Field(
            description="The registry that names without a slug are of, as docker.io; they are looked up in"
            " the virtual registry that mirrors it.",
            pattern=r"^[a-z0-9.-]+(:[0-9]+)?$",
        ),
    ] = None
    proxy_max_stale_auth: Annotated[
        Seconds | None,
        Field(
            description="Seconds to let clients in by a configuration nobody confirms, while the bus is down;"
            " unset means until their tokens expire.",
            ge=timedelta(),
        ),
    ] = None

    proxy_drain_grace: Annotated[
        Seconds,
        Field(
            description="Seconds after SIGTERM in which new connections are still served, so that balancers"
            " can hear of it.",
            ge=timedelta(),
        ),
    ] = timedelta(seconds=1)
    proxy_drain_limit: Annotated[
        Seconds,
        Field(description="Seconds that running pulls have to finish after that.", ge=timedelta()),
    ] = timedelta(seconds=30)
    proxy_max_connections: Annotated[
        int, Field(description="Connections that one worker process serves at once.", ge=1)
    ] = 8192
    proxy_client_requests: Annotated[
        int,
        Field(
            description="Pulls of one client that one worker process serves at once: of an access token, or"
            " of an address without one.",
            ge=1,
        ),
    ] = 1024
    proxy_upstream_fills: Annotated[
        int,
        Field(
            description="Blobs that one worker process fetches at once from one upstream; one client gets"
            " three quarters of them at most.",
            ge=1,
            le=MAX_BODIES,
        ),
    ] = MAX_BODIES
    proxy_metrics_listen: Annotated[
        Listen | None,
        Field(description="Address to serve /metrics on, as host:port; unset means nowhere."),
    ] = None

    @field_validator("proxy_listen", "proxy_metrics_listen", mode="before")
    @classmethod
    def _address(cls, value: object) -> object:
        return Listen.parse(value) if isinstance(value, str) else value

    @field_validator("proxy_cache_size")
    @classmethod
    def _is_something(cls, size: ByteSize | None) -> ByteSize | None:
        if size is not None and size <= 0:
            message = "leave it out for a cache without a limit of its own"
            raise ValueError(message)
        return size

    @field_validator("proxy_cache_max_idle", mode="before")
    @classmethod
    def _days(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        if not value.isascii() or not value.isdecimal() or not 1 <= int(value) <= MOST_DAYS:
            message = f"write it as a whole number of days, from 1 to {MOST_DAYS}"
            raise ValueError(message)
        return timedelta(days=int(value))

    @field_validator("proxy_external_url")
    @classmethod
    def _origin(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username is not None:
            message = "write it as https://host or https://host:port"
            raise ValueError(message)
        if parts.path not in {"", "/"} or parts.query or parts.fragment or not value.isascii():
            message = "write it without a path: clients expect /v2/ at the root"
            raise ValueError(message)
        return f"{parts.scheme}://{parts.netloc}".lower()

    @field_validator("proxy_tls_certificate", "proxy_tls_key")
    @classmethod
    def _is_file(cls, path: Path | None) -> Path | None:
        if path is not None and not path.is_file():
            message = f"there is no file {path}"
            raise ValueError(message)
        return path

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.proxy_tls_certificate is None) != (self.proxy_tls_key is None):
            message = "VREG_PROXY_TLS_CERTIFICATE and VREG_PROXY_TLS_KEY are set together or not at all"
            raise ValueError(message)
        if self.proxy_metrics_listen is not None and not self.proxy_metrics_listen.port:
            message = "VREG_PROXY_METRICS_LISTEN needs a port, for all worker processes share it"
            raise ValueError(message)
        if self.proxy_external_url is None and self.proxy_listen.host in _EVERYWHERE:
            message = "VREG_PROXY_EXTERNAL_URL must be set when VREG_PROXY_LISTEN means every address"
            raise ValueError(message)
        return self

    @property
    def cache_limits(self) -> Limits:
        """How much the cache may keep, and for how long."""
        return Limits(
            size=self.proxy_cache_size,
            keep_free=self.proxy_cache_keep_free,
            max_idle=self.proxy_cache_max_idle,
            scrub_rate=self.proxy_cache_scrub_rate,
        )

    @property
    def external_url(self) -> str:
        """The URL in challenges: set by the operator, or where we listen; never taken from a request."""
        if self.proxy_external_url is not None:
            return self.proxy_external_url
        scheme = "http" if self.proxy_tls_certificate is None else "https"
        return f"{scheme}://{self.proxy_listen}"
