"""Embeds texts with all-MiniLM-L6-v2 on every core; a query never waits behind a batch."""

import heapq
import itertools
import os
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, NamedTuple

import ctranslate2
import numpy as np
from tokenizers import Tokenizer

MAX_WINDOW = 256
"""Tokens that the model was trained for; a longer text is embedded in windows of this size."""

MAX_TOKENS = 8192
"""Tokens of one text, the limit of OpenAI's embedding models too."""

CLS, SEP = 101, 102
"""The tokens that begin and end each window."""

Vector = np.ndarray[tuple[int], np.dtype[np.float32]]


class TextTooLong(ValueError):
    """A text has more than MAX_TOKENS tokens."""


class Embeddings(NamedTuple):
    """A vector of length one for each text, in order, and the number of tokens of all texts."""

    vectors: list[Vector]
    tokens: int


class Window(NamedTuple):
    """Part of a text, in the order in which windows are embedded."""

    is_batch: bool
    turn: int
    number: int
    tokens: list[int]
    vector: "Future[Vector]"


class WindowQueue:
    """Windows that wait for a thread: first those of queries, then those of batches in turns.

    The n-th window of a batch is due n turns after the batch arrived, so a short batch does not wait
    for a long one, and short ones that arrive later do not hold up a long one.
    """

    def __init__(self) -> None:
        self._heap: list[Window] = []
        self._numbers = itertools.count()
        self._turn = 0
        self._changed = threading.Condition()

    def put(self, windows: Sequence[list[int]], *, is_batch: bool) -> "list[Future[Vector]]":
        """Add windows of one request; return their vectors to come."""
        futures: list[Future[Vector]] = [Future() for _ in windows]
        with self._changed:
            for place, (tokens, future) in enumerate(zip(windows, futures, strict=True)):
                window = Window(is_batch, self._turn + 1 + place, next(self._numbers), tokens, future)
                heapq.heappush(self._heap, window)
            self._changed.notify(len(windows))
        return futures

    def get(self) -> Window:
        """Wait for the next window."""
        with self._changed:
            while not self._heap:
                self._changed.wait()
            window = heapq.heappop(self._heap)
            if window.is_batch:
                self._turn = window.turn
            return window


class Embedder:
    """The loaded model, and a thread for each core that runs it.

    A thread embeds one window at a time: a batch would be slower, because it leaves the core's cache,
    and a query would wait for it.
    """

    def __init__(self, model: Path, tokenizer: Path) -> None:
        threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self._tokenizer = Tokenizer.from_file(str(tokenizer))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._encoder = ctranslate2.Encoder(
            str(model), compute_type="float32", inter_threads=threads, intra_threads=1
        )
        self._queue = WindowQueue()
        for _ in range(threads):
            threading.Thread(target=self._run, daemon=True).start()

    def embed(self, texts: Sequence[str], *, is_batch: bool) -> Embeddings:
        """Return the embeddings of some texts; raise TextTooLong.

        The vector of a text of several windows is the mean of theirs, weighted by their lengths.
        """
        windows = [self._windows(text) for text in texts]
        futures = iter(self._queue.put([part for parts in windows for part in parts], is_batch=is_batch))
        vectors = [_mean([next(futures).result() for _ in parts], parts) for parts in windows]
        return Embeddings(vectors, sum(len(part) for parts in windows for part in parts))

    def _windows(self, text: str) -> list[list[int]]:
        tokens = self._tokenizer.encode(text, add_special_tokens=False).ids
        if len(tokens) > MAX_TOKENS:
            raise TextTooLong(
                f"This model's maximum context length is {MAX_TOKENS} tokens, however an input of "
                f"{len(tokens)} tokens was sent. Please reduce its length."
            )
        size = MAX_WINDOW - 2
        return [[CLS, *tokens[start : start + size], SEP] for start in range(0, len(tokens), size) or [0]]

    def _run(self) -> None:
        while True:
            window = self._queue.get()
            try:
                output = self._encoder.forward_batch([window.tokens])
                window.vector.set_result(_unit(np.asarray(output.last_hidden_state)[0].mean(axis=0)))
            except Exception as exc:  # noqa: BLE001  It is raised where the vector is awaited.
                window.vector.set_exception(exc)


def _mean(vectors: Sequence[Vector], windows: Sequence[Sequence[int]]) -> Vector:
    if len(vectors) == 1:
        return vectors[0]
    return _unit(np.average(np.stack(vectors), axis=0, weights=[len(window) for window in windows]))


def _unit(vector: Any) -> Vector:
    scaled: Vector = (vector / np.linalg.norm(vector)).astype(np.float32)
    return scaled
