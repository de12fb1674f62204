"""Logging of the commands: to stderr, at the level that PIXPNET_LOG_LEVEL names."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping

from pixpnet.errors import ConfigError
from pixpnet.words import visible

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
VARIABLE = "PIXPNET_LOG_LEVEL"


def start_logging(environment: Mapping[str, str]) -> None:
    """Send what the package logs to stderr; a second call replaces the first one's handler.

    Args:
        environment: Where PIXPNET_LOG_LEVEL may stand (default INFO; case is ignored).

    Raises:
        ConfigError: If it names no level.
    """
    name = environment.get(VARIABLE) or "INFO"
    if name.upper() not in LEVELS:
        raise ConfigError(f"{VARIABLE}: {name!r} is not one of {', '.join(LEVELS)}")
    logger = logging.getLogger("pixpnet")
    for handler in [old for old in logger.handlers if old.get_name() == VARIABLE]:
        logger.removeHandler(handler)
    handler = _handler()
    handler.set_name(VARIABLE)
    logger.addHandler(handler)
    logger.setLevel(name.upper())


class _OneLine(logging.Formatter):
    """A message on one line, whatever the names in it hold."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        record.message = visible(record.message)
        return super().formatMessage(record)


def _handler() -> logging.Handler:
    """Coloured in a terminal, plain lines in a file."""
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.logging import RichHandler

        handler = RichHandler(console=Console(stderr=True), show_path=False, rich_tracebacks=False)
        handler.setFormatter(_OneLine())
        return handler
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine("%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S"))
    return handler
