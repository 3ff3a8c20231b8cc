"""The peer: Flask views that return the same JSON or store the same file."""

import json
import os
from pathlib import Path

import flask


def create_app(path: str) -> flask.Flask:
    """Make an application that answers with a file's JSON and stores uploads next to it."""
    app = flask.Flask(__name__)
    value = json.loads(Path(path).read_text())
    kept = Path(path).with_name("upload.bin")

    @app.get("/v1/assistants/<assistant_id>")
    def get_assistant(assistant_id: str) -> flask.Response:  # noqa: ARG001
        return flask.jsonify(value)

    @app.post("/v1/files")
    def create_file() -> flask.Response:
        with kept.open("wb") as file:
            flask.request.files["file"].save(file, 512 * 1024)
            file.flush()
            os.fsync(file.fileno())
        return flask.jsonify({"id": "file-bench"})

    @app.get("/v1/files/<file_id>/content")
    def download_file(file_id: str) -> flask.Response:  # noqa: ARG001
        return flask.send_file(kept)

    return app
