"""The line in which start-up ends: where the server listens, and what it serves."""

from handlers.context import Services
from serving.routes import ServedEdition
from serving.routing import PREFIX
from serving.settings import Settings, shown_store


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
