"""The line in which start-up ends: where the server listens, and what it serves."""

from pathlib import Path
from urllib.parse import urlsplit

from handlers.context import Services
from serving.routes import ServedEdition
from serving.routing import PREFIX
from serving.settings import Settings, without_secrets


def announcement(settings: Settings, services: Services, served: ServedEdition, address: str) -> str:
    """Return the line for an operator; `address` is `host:port`."""
    auth = "open: any key is accepted" if settings.auth == "open" else "keys"
    return "; ".join(
        (
            f"Serving http://{address}{PREFIX}",
            str(served.counts()),
            f"store {shown_store(settings.store)}",
            services.gateway.summary().rstrip("."),
            f"auth {auth}",
        )
    )


def shown_store(url: str) -> str:
    """Return a store's URL without secrets; a relative path of SQLite's is made absolute."""
    parts = urlsplit(url)
    path = parts.path.removeprefix("/")
    if parts.scheme != "sqlite" or not path or path.startswith("/"):
        return without_secrets(url)
    return f"sqlite:///{Path(path).resolve()}"
