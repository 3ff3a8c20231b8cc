"""Chat completions next to LiteLLM's proxy, which a user would run instead to reach providers."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import orjson
import yaml

from bench.figures import Figure, at_least_times, rate_figure
from bench.load import BenchFailed
from bench.measuring import alternate
from bench.relay import CHUNKS, QUESTION, STREAM, load, stream_load
from bench.rig import Rig, wait_listening
from tests.server import free_port

PEER = "LiteLLM's proxy"
START = 120.0
"""Seconds that the proxy may take to start."""


def against_litellm(rig: Rig) -> Iterator[Figure]:
    """Measure chat completions and streams next to LiteLLM's proxy, one worker each, same provider."""
    body = rig.room("litellm-body") / "body.json"
    body.write_bytes(orjson.dumps(QUESTION))
    with (
        rig.provider() as provider,
        rig.server("litellm-server", provider) as server,
        proxy(rig, provider.url) as port,
    ):
        root, pids = f"http://127.0.0.1:{port}", server.workers()
        load(root, 2, [], body)  # its first requests take seconds
        load(server.root, 1, pids, body)
        whole = alternate(
            rig.rounds,
            partial(load, server.root, rig.seconds, pids, body),
            partial(load, root, 2 * rig.seconds, [], body),
        )
        streamed = alternate(
            rig.rounds,
            partial(stream_load, server.port, rig.seconds, pids, STREAM),
            partial(stream_load, port, 2 * rig.seconds, [], STREAM),
        )
    rates = [(one.rate, other.rate) for one, other in whole]
    yield rate_figure(f"chat completions relayed, beside {PEER}", rates, PEER, at_least_times(80))
    name = f"streams of {CHUNKS} chunks relayed, beside {PEER}"
    yield rate_figure(name, streamed, PEER, at_least_times(120))


@contextmanager
def proxy(rig: Rig, provider: str, kind: str = "openai") -> Iterator[int]:
    """Start the proxy with one worker, without keys or a database, and yield its port.

    `kind` is the provider as LiteLLM names it: it sends responses to `openai` unchanged, and asks others for
    chat completions.
    """
    folder, port = rig.room("litellm"), free_port()
    model = {"model": f"{kind}/{QUESTION['model']}", "api_base": provider, "api_key": "sk-provider"}
    config: dict[str, Any] = {
        "model_list": [{"model_name": QUESTION["model"], "litellm_params": model}],
        "general_settings": {"dangerously_permit_weak_or_unset_master_key": True},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    command = [str(rig.litellm), "--config", "config.yaml", "--host", "127.0.0.1", "--port", str(port)]
    environment = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"}
    log_path = folder / "proxy.log"
    with log_path.open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        try:
            wait_listening(port, process, START)
        except BenchFailed as exc:
            raise BenchFailed(f"{PEER} does not start: {log_path.read_text()[-500:]}") from exc
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
