"""The process that holds the local models and serves each on OpenAI's wire, on a socket of its own.

`python -m inference.local.server SOCKETS CACHE` ends when its standard input does,
so that it never outlives the process that started it, however that one ends.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import xllamacpp

from inference.local import weights
from inference.local.models import (
    CHAT_SOCKET,
    CONTEXT_WINDOW,
    EMBEDDING_SOCKET,
    LONGEST_EMBEDDED,
    PARALLEL_CHATS,
)
from inference.subprocesses import python_module


def main(sockets: Path, cache: Path) -> None:
    """Serve until standard input ends."""
    os.nice(5)  # the workers come first
    for socket in (CHAT_SOCKET, EMBEDDING_SOCKET):
        (sockets / socket).unlink(missing_ok=True)  # of a process that died
    servers = []
    if (folder := weights.embedding_weights()) is not None:
        servers.append(xllamacpp.Server(_embedding(_as_gguf(folder, cache), sockets / EMBEDDING_SOCKET)))
    if (chat := weights.chat_weights()) is not None:
        servers.append(xllamacpp.Server(_chat(chat, sockets / CHAT_SOCKET)))
    sys.stdin.buffer.read()
    shutil.rmtree(sockets, ignore_errors=True)  # the supervisor may have been killed
    # llama.cpp would wait for its open connections; nobody is left who could read them.
    os._exit(0)


def _as_gguf(folder: Path, cache: Path) -> Path:
    """The converted weights; converting takes 150 MB, which a process of its own gives back."""
    path = weights.converted(cache)
    if not path.is_file():
        command = python_module("inference.local.minilm", str(folder), str(path))
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)  # noqa: S603
    return path


def _chat(model: Path, socket: Path) -> Any:
    params = _params(model, "local", socket)
    params.n_parallel = PARALLEL_CHATS
    params.n_ctx = CONTEXT_WINDOW * PARALLEL_CHATS
    params.n_batch = params.n_ubatch = 128
    return params


def _embedding(model: Path, socket: Path) -> Any:
    params = _params(model, "local-embedding", socket)
    params.embedding = True
    params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    params.n_parallel = 4
    params.n_ctx = LONGEST_EMBEDDED * params.n_parallel
    params.n_batch = params.n_ubatch = LONGEST_EMBEDDED
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
    params.verbosity = 0
    # llama.cpp's threads spin while they wait for each other, which stalls it on a busy machine.
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = max(1, (os.cpu_count() or 2) - 1)
    return params


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
