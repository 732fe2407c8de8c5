"""Structured logs for all services and their libraries, with secrets taken out on the way."""

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, Final

import structlog

from vreg_shared.secret import MASK, Secret

_SECRET_NAMES: Final = re.compile(
    r"authorization|password|passwd|secret|token|credential|cookie|api[_-]?key|private[_-]?key|seed",
    re.IGNORECASE,
)
_HARMLESS_NAMES: Final = frozenset(
    {"token_fingerprint", "credential_version", "token_realm", "secret_fields"}
)
_SECRET_TEXT: Final = (
    re.compile(r"(?i)\b(basic|bearer)\s+[A-Za-z0-9+/_.~-]{8,}=*"),
    re.compile(r"vreg_[0-9A-Z]{26}_[A-Za-z0-9_-]{10,}"),
    re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{12,}"),
    re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.?[A-Za-z0-9_-]*"),
    re.compile(r"\bS[ACNOUX][A-Z2-7]{56}\b"),
    re.compile(r"\bya29\.[A-Za-z0-9_.~-]{8,}"),
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"),
)
_QUERY: Final = re.compile(r"(https?://[^\s?\"']+)\?[^\s\"']+")
_LIBRARIES: Final = (
    "aiosqlite",
    "asyncio",
    "azure",
    "boto3",
    "botocore",
    "google",
    "httpcore",
    "httpx",
    "msal",
    "nats",
    "requests",
    "urllib3",
)


def configure_logging(service: str, level: str, form: str) -> None:
    """Send this process's logs, and its libraries', to standard output, one event a line.

    `level` is `debug` to `error`; `form` is `json` or `text`. Libraries that write request bodies and
    headers at debug level are held at warning whatever `level` says.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        _named(service),
        redact,
    ]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer() if form == "json" else structlog.dev.ConsoleRenderer(colors=False)
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.stdlib.LoggerFactory(),
        # Loggers made earlier follow; nothing is logged on the hot path, so looking up costs nothing.
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _LIBRARIES:
        logging.getLogger(name).setLevel(max(root.level, logging.WARNING))


def redact(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Mask values whose name or shape is a secret's, and cut queries off URLs."""
    for name, value in event.items():
        event[name] = _redacted(name, value)
    return event


def redact_text(text: str) -> str:
    """Mask what looks like a credential in free text, and cut queries off URLs."""
    for pattern in _SECRET_TEXT:
        text = pattern.sub(MASK, text)
    return _QUERY.sub(r"\1?" + MASK, text)


def _redacted(name: str, value: object) -> object:
    if isinstance(value, Secret):
        return MASK
    if isinstance(value, (str, bytes)) and _SECRET_NAMES.search(name) and name not in _HARMLESS_NAMES:
        return MASK
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, Mapping):
        return {key: _redacted(str(key), inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_redacted("", inner) for inner in value]
    return value


def _named(service: str) -> structlog.typing.Processor:
    def add(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event["service"] = service
        return event

    return add
