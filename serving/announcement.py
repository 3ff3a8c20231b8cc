"""The line in which start-up ends: where the server listens, and what it serves."""

from handlers.context import Services
from serving.routes import ServedEdition
from serving.routing import PREFIX
from serving.settings import Settings, shown_store

AUTH = {
    "open": "open: any key is accepted",
    "keys": "keys",
    "astra": "astra: any token is accepted, and opens a project of its own",
}


def announcement(settings: Settings, services: Services, served: ServedEdition, address: str) -> str:
    """Return the line for an operator; `address` is `host:port`."""
    return "; ".join(
        (
            f"Serving http://{address}{PREFIX}",
            str(served.counts()),
            f"store {shown_store(settings.store)}",
            services.gateway.summary().rstrip("."),
            f"auth {AUTH[settings.auth]}",
        )
    )
