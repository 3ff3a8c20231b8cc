"""Logs on standard error: JSON objects or readable lines, never a body, a key or a query's value."""

import asyncio
import logging
import logging.config
import sys
from collections.abc import Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import orjson
import structlog

FLUSH_SECONDS = 0.1
"""Seconds for which the lines of requests are gathered."""

Fields = MutableMapping[str, Any]

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


def is_json(log_format: str) -> bool:
    """Whether lines are JSON: as set, by default where standard error is no terminal."""
    return log_format == "json" or (log_format == "auto" and not sys.stderr.isatty())


def json_line(event: Fields) -> str:
    """Return an event as one JSON object, which begins with what every event has."""
    first = {name: event.pop(name) for name in ("timestamp", "level", "logger", "event") if name in event}
    event.pop("text", None)
    return orjson.dumps({**first, **event}, default=repr, option=orjson.OPT_UTC_Z).decode()


def text_line(event: Fields) -> str:
    """Return an event as a readable line: local time, level, the event, its fields.

    An event's `text` is shown instead of its name and fields. A traceback follows on lines of its own.
    """
    time = event.pop("timestamp").astimezone().strftime("%H:%M:%S")
    level, name, exception = event.pop("level"), event.pop("event"), event.pop("exception", "")
    del event["logger"]
    shown = " ".join(f"{field}={value}" for field, value in event.items())
    line = f"{time} {level:<8}{event.get('text') or f'{name} {shown}'.rstrip()}"
    return f"{line}\n{exception}" if exception else line


def _add_timestamp(_: Any, __: str, event: Fields) -> Fields:
    event["timestamp"] = datetime.now(UTC)
    return event


PROCESSORS: tuple[Any, ...] = (
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    _add_timestamp,
)


def logging_config(level: str, log_format: str = "json") -> dict[str, Any]:
    """Return the standard library's configuration: every library's lines in the same form.

    gunicorn and uvicorn log each step of a start and a stop at level info, so theirs begin at warning.
    """
    line = json_line if is_json(log_format) else text_line
    processors = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        structlog.processors.format_exc_info,
        lambda _, __, event: line(event),
    ]
    servers = {"level": "WARNING" if level == "info" else level.upper(), "handlers": [], "propagate": True}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "lines": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": PROCESSORS,
                "processors": processors,
            }
        },
        "handlers": {
            "stderr": {"class": "logging.StreamHandler", "formatter": "lines", "stream": "ext://sys.stderr"}
        },
        "root": {"handlers": ["stderr"], "level": level.upper()},
        "loggers": dict.fromkeys(
            ("gunicorn.error", "gunicorn.access", "uvicorn", "uvicorn.error", "uvicorn.access"), servers
        ),
    }


def configure(level: str, log_format: str = "json") -> None:
    """Send this process's own lines, and those of every library, to standard error."""
    logging.config.dictConfig(logging_config(level, log_format))
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *PROCESSORS,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


class RequestLog:
    """Writes one line a request, at level info, by a thread, so that a slow terminal stops no request.

    Bypasses the standard library's logging: a line costs 3 µs so, 40 through it. Fields are gathered
    for `FLUSH_SECONDS` and written as lines together; `close` writes the last of them.
    """

    def __init__(self, level: str, log_format: str = "json") -> None:
        self._is_json = is_json(log_format)
        self.enabled = LEVELS[level] <= logging.INFO
        self._waiting: list[Fields] = []
        self._timer: asyncio.TimerHandle | None = None
        self._writer = ThreadPoolExecutor(1, "request-log")

    def write(self, event: Fields) -> None:
        """Write a line: an event with the fields that every event has."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_SECONDS, self._flush)
        self._waiting.append(event)

    def _flush(self) -> None:
        waiting, self._waiting, self._timer = self._waiting, [], None
        self._writer.submit(_write_lines, waiting, _request_json if self._is_json else _request_text)

    def close(self) -> None:
        """Write what is left and wait until it is written."""
        if self._timer is not None:
            self._timer.cancel()
        self._flush()
        self._writer.shutdown()
        self._writer = ThreadPoolExecutor(1, "request-log")


def _write_lines(events: list[Fields], line: Callable[[Fields], bytes]) -> None:
    sys.stderr.buffer.write(b"".join(map(line, events)))
    sys.stderr.buffer.flush()


def _request_json(event: Fields) -> bytes:
    return orjson.dumps(event, option=orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE)


def _request_text(event: Fields) -> bytes:
    event["text"] = (
        f"{event['status']} {event['method']:<6} {event['operation']:<28} {event['seconds'] * 1000:8.1f} ms "
        f"in {event['received']} out {event['sent']} {event['project']} {event['request_id']}"
    )
    return f"{text_line(event)}\n".encode()
