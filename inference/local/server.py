"""The process that holds the local models and serves each on OpenAI's wire, on a Unix socket of its own.

`python -m inference.local.server SOCKETS CACHE` ends when its standard input closes, so it never
outlives the process that started it, even if that one is killed.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

from inference.local import weights
from inference.local.models import CHAT_SOCKET, CONTEXT_WINDOW, EMBEDDING_SOCKET, PARALLEL_CHATS
from inference.subprocesses import python_module

AVX512 = {"avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl"}


def main(sockets: Path, cache: Path) -> None:
    """Serve until standard input closes."""
    os.nice(5)  # the server's workers have priority
    for socket in (CHAT_SOCKET, EMBEDDING_SOCKET):
        (sockets / socket).unlink(missing_ok=True)  # left by a process that died
    if (folder := weights.embedding_weights()) is not None and weights.has_runtime(weights.EMBEDDING_PACKAGE):
        _serve_embeddings(folder, cache, sockets / EMBEDDING_SOCKET)
    chat = None
    if (model := weights.chat_weights()) is not None and weights.has_runtime(weights.CHAT_PACKAGE):
        chat = _serve_chat(model, sockets / CHAT_SOCKET)
    sys.stdin.buffer.read()
    shutil.rmtree(sockets, ignore_errors=True)  # the supervisor may have been killed
    # Without waiting for open connections, whose other ends are gone.
    del chat
    os._exit(0)


def _serve_embeddings(folder: Path, cache: Path, socket: Path) -> None:
    if has_avx512():
        # CTranslate2 uses AVX2 outside of matrix products unless it is asked for more.
        os.environ.setdefault("CT2_FORCE_CPU_ISA", "AVX512")
    from inference.local.embedder import Embedder  # noqa: PLC0415  Its packages may not be installed.
    from inference.local.embedding_server import EmbeddingServer  # noqa: PLC0415

    model = weights.converted(cache)
    if not model.is_dir():
        # In a process of its own, because converting takes 300 MB that Python would keep.
        command = python_module("inference.local.minilm", str(folder), str(model))
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)  # noqa: S603
    server = EmbeddingServer(socket, Embedder(model, folder / "tokenizer.json"))
    threading.Thread(target=server.serve_forever, daemon=True).start()


def has_avx512(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Return whether the processor has the parts of AVX-512 that CTranslate2 is built with (Linux only)."""
    with contextlib.suppress(OSError), cpuinfo.open(encoding="ascii", errors="replace") as lines:
        flags = next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), [])
        return set(flags) >= AVX512
    return False


def _serve_chat(model: Path, socket: Path) -> object:
    import xllamacpp  # noqa: PLC0415  It may not be installed.

    params = xllamacpp.CommonParams()
    params.model.path = str(model)
    params.model_alias = {"local"}
    params.hostnames = [str(socket)]
    params.n_parallel = PARALLEL_CHATS
    params.n_ctx = CONTEXT_WINDOW * PARALLEL_CHATS
    params.n_batch = params.n_ubatch = 128
    params.cache_ram_mib = 0  # the default may take gigabytes
    params.warmup = False
    params.ui = False
    params.endpoint_slots = False
    params.verbosity = 0
    # llama.cpp's threads spin while they wait for each other, which stalls it on a busy machine.
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = max(1, (os.cpu_count() or 2) - 1)
    return xllamacpp.Server(params)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
