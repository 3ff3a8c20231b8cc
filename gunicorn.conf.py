"""How gunicorn runs the server, by `astrolabe serve` or by `gunicorn -c gunicorn.conf.py wsgi:app`."""

import os
import signal
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

pythonpath = str(Path(__file__).resolve().parent)
sys.path.insert(0, pythonpath)

from inference import tokens
from inference.gateway.routing.known_models import known_models
from serving.commands import errors_as_exit
from serving.logs import configure, logging_config
from serving.multiprocess import metrics_files
from serving.settings import Settings
from serving.worker import AFTER_GRACE

# Until gunicorn handles it, Ctrl-C ends the start without a traceback.
signal.signal(signal.SIGINT, signal.SIG_DFL)

with errors_as_exit():
    _settings = Settings.read()

bind = _settings.address
workers = _settings.workers
# Its default path is one for all servers of a user.
control_socket_disable = True
worker_class = "serving.worker.Worker"
preload_app = True
# A worker is one event loop: silence for this long means that it hangs.
timeout = 60
graceful_timeout = int(_settings.grace + 2 * AFTER_GRACE)
# Heartbeat files in memory: on a slow disk they would block the worker.
worker_tmp_dir = "/dev/shm" if os.path.isdir("/dev/shm") else None  # noqa: S108, PTH112
configure(_settings.log_level, _settings.log_format)
logconfig_dict = logging_config(_settings.log_level, _settings.log_format)
# The request log is the application's own: it knows operations.
accesslog = None

metrics_files()  # ahead of the application, which imports prometheus_client


def on_starting(server: Any) -> None:  # noqa: D103
    tokens.encoding()
    known_models()
    server.app.wsgi().start_local_models()  # ahead of the forks, and not waited for


def when_ready(server: Any) -> None:  # noqa: D103
    # gunicorn would restart the workers, which would end long streams, and not read models.yaml again.
    signal.signal(signal.SIGHUP, lambda *_: reload_routes(server.WORKERS))


def reload_routes(workers: Iterable[int]) -> None:
    """Have every worker read models.yaml again."""
    for pid in list(workers):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGHUP)


def pre_fork(server: Any, worker: Any) -> None:  # noqa: D103
    worker.slot = metrics_files().free_slot(other.slot for other in server.WORKERS.values())


def post_fork(server: Any, worker: Any) -> None:  # noqa: ARG001, D103
    metrics_files().slot = worker.slot


def child_exit(server: Any, worker: Any) -> None:  # noqa: ARG001, D103
    metrics_files().release(worker.slot)


def on_exit(server: Any) -> None:  # noqa: D103
    server.app.wsgi().stop_local_models()
    metrics_files().remove()
