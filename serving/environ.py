"""Makes the WSGI environ of an ASGI request, which Flask's request is built on."""

import io
import sys
from typing import Any

from serving.request import Scope

BASE_ENVIRON: dict[str, Any] = {
    "SCRIPT_NAME": "",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "wsgi.version": (1, 0),
    "wsgi.multithread": True,
    "wsgi.multiprocess": True,
    "wsgi.run_once": False,
}


class Environs:
    """Makes the WSGI environ that Flask's request is built on; the names of headers are kept."""

    MAX_NAMES = 512

    def __init__(self) -> None:
        self._names: dict[bytes, str] = {}
        self._base = {**BASE_ENVIRON, "wsgi.errors": sys.stderr, "wsgi.input": io.BytesIO()}

    def make(self, scope: Scope) -> dict[str, Any]:
        """Return the environ of a request without its body, which Flask's views never read here."""
        environ = self._base.copy()
        server = scope.get("server") or ("localhost", 80)
        environ["SERVER_NAME"] = server[0]
        environ["SERVER_PORT"] = str(server[1] or "")
        environ["REQUEST_METHOD"] = scope["method"]
        path = scope["path"]
        environ["PATH_INFO"] = path if path.isascii() else path.encode().decode("latin-1")
        environ["QUERY_STRING"] = scope["query_string"].decode("latin-1")
        environ["wsgi.url_scheme"] = scope.get("scheme", "http")
        if scope.get("client"):
            environ["REMOTE_ADDR"] = scope["client"][0]
        for name, value in scope["headers"]:
            environ[self._name(name)] = value.decode("latin-1")
        return environ

    def _name(self, header: bytes) -> str:
        name = self._names.get(header)
        if name is None:
            name = header.decode("latin-1").upper().replace("-", "_")
            name = name if name in ("CONTENT_TYPE", "CONTENT_LENGTH") else "HTTP_" + name
            if len(self._names) < self.MAX_NAMES:
                self._names[header] = name
        return name
