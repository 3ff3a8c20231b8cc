"""Logs on standard error: JSON objects or readable lines, never a body, a key or a query's value."""

import asyncio
import logging
import logging.config
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import orjson
import structlog

FLUSH_SECONDS = 0.1
"""Seconds for which the lines of requests are gathered."""

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


def is_json(log_format: str) -> bool:
    """Whether lines are JSON: as set, by default where standard error is no terminal."""
    return log_format == "json" or (log_format == "auto" and not sys.stderr.isatty())


def _render_json(_: Any, __: str, event: Any) -> str:
    return orjson.dumps(event, default=repr).decode()


PROCESSORS: tuple[Any, ...] = (
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
)


def logging_config(level: str, log_format: str = "json") -> dict[str, Any]:
    """Return the standard library's configuration: every library's lines in the same form."""
    ends = (
        [structlog.processors.format_exc_info, _render_json]
        if is_json(log_format)
        else [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
    )
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "lines": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": PROCESSORS,
                "processors": [structlog.stdlib.ProcessorFormatter.remove_processors_meta, *ends],
            }
        },
        "handlers": {
            "stderr": {"class": "logging.StreamHandler", "formatter": "lines", "stream": "ext://sys.stderr"}
        },
        "root": {"handlers": ["stderr"], "level": level.upper()},
        "loggers": {
            name: {"level": level.upper(), "handlers": [], "propagate": True}
            for name in ("gunicorn.error", "gunicorn.access", "uvicorn", "uvicorn.error", "uvicorn.access")
        },
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
        self._waiting: list[dict[str, Any]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._writer = ThreadPoolExecutor(1, "request-log")

    def write(self, fields: dict[str, Any]) -> None:
        """Write a line of fields."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_SECONDS, self._flush)
        self._waiting.append(fields)

    def _flush(self) -> None:
        waiting, self._waiting, self._timer = self._waiting, [], None
        self._writer.submit(_write_lines, waiting, _json_line if self._is_json else _text_line)

    def close(self) -> None:
        """Write what is left and wait until it is written."""
        if self._timer is not None:
            self._timer.cancel()
        self._flush()
        self._writer.shutdown()
        self._writer = ThreadPoolExecutor(1, "request-log")


def _write_lines(waiting: list[dict[str, Any]], line: Callable[[dict[str, Any]], bytes]) -> None:
    sys.stderr.buffer.write(b"".join(map(line, waiting)))
    sys.stderr.buffer.flush()


def _json_line(fields: dict[str, Any]) -> bytes:
    return orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE)


def _text_line(fields: dict[str, Any]) -> bytes:
    at = time.strftime("%H:%M:%S", time.localtime(fields["at"]))
    milliseconds = fields["seconds"] * 1000
    line = (
        f"{at} {fields['status']} {fields['method']:<6} {fields['operation']:<28} {milliseconds:8.1f} ms "
        f"in {fields['received']} out {fields['sent']} {fields['project']} {fields['request_id']}\n"
    )
    return line.encode()
