"""A server on loopback that answers as Astra's DevOps API does, and the way in that its bundles name.

Behind it is a plain node: TLS ends here, and a keyspace is made there by CQL, which Astra refuses.
"""

import asyncio
import io
import json
import ssl
import subprocess
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

from tests.fixtures.cassandra import TOKEN

DATABASE = "0f3a1c9e-2b64-4a5d-9d52-7f60c8a1e0b7"

Made = Callable[[str], Awaitable[None]]


@dataclass
class Astra:
    """One database and what its API is told to answer."""

    status: str = "ACTIVE"
    keyspaces: list[str] = field(default_factory=lambda: ["default_keyspace"])
    maintenance: int = 1
    """Times that it says MAINTENANCE after a keyspace was made."""

    failures: list[int] = field(default_factory=list)
    """What the next requests are answered with instead."""

    databases: list[str] = field(default_factory=lambda: [DATABASE])
    """What the token opens."""

    bundle: bytes = b""
    made: Made | None = None
    requests: list[str] = field(default_factory=list)
    url: str = ""

    def application(self) -> web.Application:
        application = web.Application(middlewares=[self._check])
        database = "/v2/databases/{database}"
        application.router.add_get("/v2/databases", self._list)
        application.router.add_get(database, self._show)
        application.router.add_post(f"{database}/secureBundleURL", self._bundle_url)
        application.router.add_post(f"{database}/keyspaces/{{keyspace}}", self._keyspace)
        application.router.add_get("/bundles/secure-connect.zip", self._download)
        return application

    @web.middleware
    async def _check(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        self.requests.append(f"{request.method} {request.path}")
        authorization = request.headers.get("Authorization")
        if request.path.startswith("/bundles/"):
            assert authorization is None
            return await handler(request)
        if self.failures:
            return refusal(self.failures.pop(0), "Something is broken")
        if authorization != f"Bearer {TOKEN}":
            return refusal(401, f"token {authorization} is not valid")
        if request.match_info.get("database", DATABASE) != DATABASE:
            return refusal(404, "database not found")
        return await handler(request)

    async def _list(self, _: web.Request) -> web.Response:
        return web.json_response([{"id": id, "status": self.status} for id in self.databases])

    async def _show(self, _: web.Request) -> web.Response:
        status = self.status
        if status == "MAINTENANCE":
            self.maintenance -= 1
            self.status = "MAINTENANCE" if self.maintenance > 0 else "ACTIVE"
        info = {"keyspace": self.keyspaces[0], "additionalKeyspaces": self.keyspaces[1:]}
        return web.json_response({"id": DATABASE, "status": status, "info": info})

    async def _bundle_url(self, request: web.Request) -> web.Response:
        if self.status != "ACTIVE":
            return refusal(409, f"database is {self.status}")
        address = f"http://{request.host}/bundles/secure-connect.zip?signature=abc"
        return web.json_response({"downloadURL": address, "downloadURLInternal": f"{address}&internal"})

    async def _download(self, _: web.Request) -> web.Response:
        return web.Response(body=self.bundle, content_type="application/zip")

    async def _keyspace(self, request: web.Request) -> web.Response:
        if self.status != "ACTIVE":
            return refusal(409, f"database is {self.status}")
        name = request.match_info["keyspace"]
        if self.made is not None:
            await self.made(name)
        self.keyspaces.append(name)
        self.status = "MAINTENANCE" if self.maintenance else "ACTIVE"
        return web.Response(status=201)


def refusal(status: int, message: str) -> web.Response:
    return web.json_response({"errors": [{"ID": 1, "message": message}]}, status=status)


@asynccontextmanager
async def serving(application: web.Application, context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """The port of an application on loopback."""
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    try:
        assert site._server is not None
        yield site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
    finally:
        await runner.cleanup()


@asynccontextmanager
async def way_in(folder: Path, node: str, host_id: str) -> AsyncIterator[bytes]:
    """A bundle, its metadata service, and the port where TLS ends in front of a node."""
    certificate, key = folder / "cert.pem", folder / "key.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
    ]
    done = await asyncio.to_thread(
        subprocess.run,
        [*command, "-keyout", str(key), "-out", str(certificate)],
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(certificate))
    context.verify_mode = ssl.CERT_REQUIRED  # who comes without the bundle's certificate is not let in
    context.load_cert_chain(certificate, key)
    async with AsyncExitStack() as stack:
        entry = await asyncio.start_server(passer(node), "127.0.0.1", 0, ssl=context)
        stack.callback(entry.close)
        address = f"127.0.0.1:{entry.sockets[0].getsockname()[1]}"
        contact = {"type": "sni_proxy", "local_dc": "datacenter1", "sni_proxy_address": address}
        application = web.Application()

        async def metadata(_: web.Request) -> web.Response:
            return web.json_response({"contact_info": {**contact, "contact_points": [host_id]}})

        application.router.add_get("/metadata", metadata)
        port = await stack.enter_async_context(serving(application, context))
        yield bundle(certificate.read_bytes(), key.read_bytes(), port)


def bundle(certificate: bytes, key: bytes, port: int) -> bytes:
    """A secure-connect bundle as the driver reads it."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        file.writestr(
            "config.json", json.dumps({"host": "localhost", "port": port, "localDC": "datacenter1"})
        )
        file.writestr("ca.crt", certificate)
        file.writestr("cert", certificate)
        file.writestr("key", key)
    return content.getvalue()


def passer(node: str) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    """Passes bytes both ways to a node."""
    host, _, port = node.partition(":")

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(host, int(port))
        await asyncio.gather(copy(reader, back), copy(there, writer))

    return accept
