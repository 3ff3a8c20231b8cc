"""When a request has its context compacted."""

from handlers.context import Context
from handlers.errors import BadRequest
from inference.responses.items import TRIGGER
from persistence.types import JSON

USED = 0.8
"""Share of a model's context window that a context may use if the request names no threshold."""


def compaction_rule(context: Context, body: JSON, items: list[JSON]) -> tuple[JSON | None, list[JSON]]:
    """Return the fields of the engine's rule for compactions, and the items without their trigger."""
    rule = _managed(context, body)
    for index, item in enumerate(items):
        if item["type"] != TRIGGER:
            continue
        if index < len(items) - 1:
            message = f"An item of the type '{TRIGGER}' must be the last input item."
            raise BadRequest(message, param=f"input[{index}]", code="invalid_value")
        rule, items = {"ends_run": True}, items[:-1]
    if rule is not None and not context.services.responses.sealer.can_seal:
        raise BadRequest("Compaction needs a store, which a caller without a token does not have.")
    return rule, items


def _managed(context: Context, body: JSON) -> JSON | None:
    """Return the rule that `context_management` asks for."""
    rule: JSON | None = None
    for index, entry in enumerate(body.get("context_management") or ()):
        if entry["type"] != "compaction":
            message = f"Invalid value: '{entry['type']}'. The only supported value is 'compaction'."
            raise BadRequest(message, param=f"context_management[{index}].type", code="invalid_value")
        threshold = entry.get("compact_threshold")
        if threshold is None:
            threshold = int(context.services.gateway.context_window(body["model"]) * USED)
        rule = {"threshold": threshold}
    return rule
