"""Whether the server lives: an operation of our own, for clients of DataStax's Astra Assistants too."""

from handlers.context import Context
from handlers.registry import operation
from persistence.types import JSON


@operation("getHealth")
async def get_health(context: Context) -> JSON:  # noqa: ARG001 - asks nobody
    """The process answers; /readyz asks the store as well."""
    return {"status": "alive"}
