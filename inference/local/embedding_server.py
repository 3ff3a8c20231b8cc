"""Serves the embedding model on a Unix socket: `GET /health` and OpenAI's `POST /v1/embeddings`.

An `input` that is a string is a query and goes ahead of every batch; a list of strings is a batch.
"""

import socketserver
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import orjson

from inference.local.embedder import Embedder, TextTooLong

MODEL = "local-embedding"


class EmbeddingServer(socketserver.ThreadingUnixStreamServer):
    """A thread for each connection; the work is done by the embedder's threads."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, socket: Path, embedder: Embedder) -> None:
        self.embedder = embedder
        super().__init__(str(socket), EmbeddingHandler)


class EmbeddingHandler(BaseHTTPRequestHandler):
    """Answers the requests of one connection."""

    protocol_version = "HTTP/1.1"
    server: EmbeddingServer

    def do_GET(self) -> None:
        """Answer 200 to `/health`: the model is loaded before the socket is opened."""
        self._respond(200 if self.path == "/health" else 404, {"status": "ok"})

    def do_POST(self) -> None:
        """Embed the texts of the body."""
        request = orjson.loads(self.rfile.read(int(self.headers["Content-Length"])))
        texts = request["input"]
        is_batch = not isinstance(texts, str)
        try:
            found = self.server.embedder.embed(texts if is_batch else [texts], is_batch=is_batch)
        except TextTooLong as exc:
            error = {"message": str(exc), "type": "invalid_request_error"}
            self._respond(400, {"error": {**error, "param": "input", "code": "context_length_exceeded"}})
            return
        data = [
            {"object": "embedding", "index": index, "embedding": vector}
            for index, vector in enumerate(found.vectors)
        ]
        usage = {"prompt_tokens": found.tokens, "total_tokens": found.tokens}
        self._respond(200, {"object": "list", "data": data, "model": MODEL, "usage": usage})

    def _respond(self, status: int, body: dict[str, Any]) -> None:
        data = orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: the server that asks logs its requests."""
