"""Between ASGI's dicts and what the rest of serving speaks: a WSGI environ in, headers and bytes out."""

import io
import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

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

    MOST_NAMES = 512

    def __init__(self) -> None:
        self._names: dict[bytes, str] = {}
        self._base = {**BASE_ENVIRON, "wsgi.errors": sys.stderr, "wsgi.input": io.BytesIO()}

    def make(self, scope: Scope) -> dict[str, Any]:
        """The environ of a request without its body, which Flask's views never read here."""
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
            if len(self._names) < self.MOST_NAMES:
                self._names[header] = name
        return name


class Headers(Mapping[str, str]):
    """A request's headers by lower-case name, decoded when asked for; of repeated ones the last."""

    __slots__ = ("_raw",)

    def __init__(self, scope: Scope) -> None:
        self._raw: dict[bytes, bytes] = dict(scope["headers"])

    def __getitem__(self, name: str) -> str:
        return self._raw[name.encode("latin-1")].decode("latin-1")

    def raw(self, name: bytes) -> bytes:
        """The bytes of a header, none for one that was not sent."""
        return self._raw.get(name, b"")

    def __iter__(self) -> Iterator[str]:
        return (name.decode("latin-1") for name in self._raw)

    def __len__(self) -> int:
        return len(self._raw)


def encode_headers(headers: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    """Headers as ASGI sends them."""
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
