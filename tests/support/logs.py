"""All that a service would log, read back; what it configured is undone afterwards."""

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout

import structlog

from vreg_shared.telemetry import configure_logging


@contextmanager
def captured_logs(service: str) -> Iterator[io.StringIO]:
    """Log at debug level into the text that is yielded."""
    text, root = io.StringIO(), logging.getLogger()
    handlers, level = root.handlers[:], root.level
    with redirect_stdout(text):
        configure_logging(service, "debug", "json")
    try:
        yield text
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        structlog.reset_defaults()
