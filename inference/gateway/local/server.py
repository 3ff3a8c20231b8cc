"""The process that holds the local models and serves each on OpenAI's wire, on a socket of its own.

`python -m astrolabe_server.inference.gateway.local.server SOCKETS CACHE` ends when its standard
input does, so that it never outlives the process that started it, however that one ends.
"""

import os
import sys
from pathlib import Path
from typing import Any

import xllamacpp

from astrolabe_server.inference.gateway.local import minilm, weights
from astrolabe_server.inference.gateway.local.process import CHAT_SOCKET, EMBEDDING_SOCKET
from astrolabe_server.inference.gateway.routes import LOCAL_CHAT, LOCAL_CONTEXT_WINDOW, LOCAL_EMBEDDING

PARALLEL = 2
"""Chats that are answered at once; further ones wait."""


def main(sockets: Path, cache: Path) -> None:
    """Serve until standard input ends."""
    os.nice(5)  # the workers come first
    servers = []
    if (folder := weights.embedding_weights()) is not None:
        path = minilm.as_gguf(folder, cache)
        servers.append(xllamacpp.Server(_embedding(path, sockets / EMBEDDING_SOCKET)))
    if (chat := weights.chat_weights()) is not None:
        servers.append(xllamacpp.Server(_chat(chat, sockets / CHAT_SOCKET)))
    sys.stdin.buffer.read()
    # llama.cpp would wait for its open connections; nobody is left who could read them.
    os._exit(0)


def _chat(model: Path, socket: Path) -> Any:
    params = _params(model, LOCAL_CHAT, socket)
    params.n_parallel = PARALLEL
    params.n_ctx = LOCAL_CONTEXT_WINDOW * PARALLEL
    params.n_batch = params.n_ubatch = 256
    return params


def _embedding(model: Path, socket: Path) -> Any:
    params = _params(model, LOCAL_EMBEDDING, socket)
    params.embedding = True
    params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    params.n_parallel = 4
    params.n_ctx = minilm.POSITIONS * params.n_parallel
    params.n_batch = params.n_ubatch = minilm.POSITIONS
    return params


def _params(model: Path, alias: str, socket: Path) -> Any:
    params = xllamacpp.CommonParams()
    params.model.path = str(model)
    params.model_alias = {alias}
    params.hostnames = [str(socket)]
    params.cache_ram_mib = 0  # its default may take gigabytes
    params.warmup = False
    params.ui = False
    params.endpoint_slots = False
    params.verbosity = 1
    # llama.cpp's threads spin while they wait for each other, which stalls it on a busy machine.
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = max(1, (os.cpu_count() or 2) - 1)
    return params


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
