"""Formatting of log records: JSON for programs, colours for a person at a terminal. Named in settings.LOGGING."""

from __future__ import annotations

import logging
import sys

import structlog
from django.http import HttpRequest
from structlog.typing import EventDict, Processor, WrappedLogger

from core.fetching import redact_json, redact_text

#: Applied to our records and to those of Django and RQ, so that every line has the same keys.
SHARED: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.stdlib.ExtraAdder(),
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.StackInfoRenderer(),
]

_as_json = structlog.processors.JSONRenderer(ensure_ascii=False)
_for_people = structlog.dev.ConsoleRenderer(pad_event_to=0)


def drop_meta(logger: WrappedLogger, name: str, event: EventDict) -> EventDict:
    """First processor: apply SHARED to records of the standard library, and remove structlog's internal keys."""
    if not event.pop("_from_structlog"):
        record = event["_record"]
        for processor in SHARED:
            event = processor(logging.getLogger(record.name), record.levelname.lower(), event)  # type: ignore[assignment]
    event.pop("_record", None)
    return event


def render(logger: WrappedLogger, name: str, event: EventDict) -> str:
    """Last processor: return one line, without the secrets of addresses, also in the text of a traceback."""
    if event.get("exc_info"):
        event = structlog.processors.format_exc_info(logger, name, event)
    event = {key: _redact_value(value) for key, value in event.items()}
    return str(_for_people(logger, name, event) if sys.stderr.isatty() else _as_json(logger, name, event))


def _redact_value(value: object) -> object:
    """Return a value without secrets: plain JSON by its strings, another object as text if it contains an address.

    A request is shown by its method and path.
    """
    if isinstance(value, HttpRequest):  # Django adds it to records of errors; its own text has the query
        return f"{value.method} {value.path}"
    if value is None or isinstance(value, bool | int | float | str | dict | list | tuple):
        return redact_json(value)
    text = str(value)
    hidden = redact_text(text)
    return value if hidden == text else hidden


def formatter() -> structlog.stdlib.ProcessorFormatter:
    """Return the formatter of all handlers, and route structlog's loggers through the standard library."""
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *SHARED,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    return structlog.stdlib.ProcessorFormatter(processors=[drop_meta, render])
