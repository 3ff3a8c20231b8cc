"""How gunicorn runs the server, by `astrolabe serve` or by `gunicorn -c gunicorn.conf.py wsgi:app`."""

import os
import shutil
import tempfile

from astrolabe_server.serving.cli import refusals_as_exit
from astrolabe_server.serving.logs import configure, logging_config
from astrolabe_server.serving.settings import Settings
from astrolabe_server.serving.worker import AFTER_GRACE

with refusals_as_exit():
    _settings = Settings.read()

bind = f"{_settings.host}:{_settings.port}"
workers = _settings.workers
# Its default path is one for all servers of a user.
control_socket_disable = True
worker_class = "astrolabe_server.serving.worker.Worker"
preload_app = True
# A worker is one event loop: silence for this long means that it hangs.
timeout = 60
graceful_timeout = int(_settings.grace + 2 * AFTER_GRACE)
# Heartbeat files in memory: on a slow disk they would block the worker.
worker_tmp_dir = "/dev/shm" if os.path.isdir("/dev/shm") else None  # noqa: S108, PTH112
configure(_settings.log_level)
logconfig_dict = logging_config(_settings.log_level)
# The request log is the application's own: it knows operations.
accesslog = None

# prometheus_client decides at import whether workers share their values through files.
_metrics_folder = tempfile.mkdtemp(prefix="astrolabe-metrics-")
os.environ["PROMETHEUS_MULTIPROC_DIR"] = _metrics_folder


def on_starting(server):  # noqa: ANN001, ANN201, D103
    gateway = server.app.wsgi().services.gateway
    server.log.info(gateway.summary())
    local = gateway.local
    if local is not None:  # ahead of the forks, and not waited for
        local.start()


def when_ready(server):  # noqa: ANN001, ANN201, D103
    server.app.wsgi().start_local_models()


def child_exit(server, worker):  # noqa: ANN001, ANN201, ARG001, D103
    from prometheus_client import multiprocess  # noqa: PLC0415

    multiprocess.mark_process_dead(worker.pid)


def on_exit(server):  # noqa: ANN001, ANN201, D103
    local = server.app.wsgi().services.gateway.local
    if local is not None:
        local.stop()
    server.app.wsgi().stop_local_models()
    shutil.rmtree(_metrics_folder, ignore_errors=True)
