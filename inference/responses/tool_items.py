"""Calls of the server's tools as items of a response, and as its events: an entry for each type of item."""

from inference.engine.items import Call
from inference.responses import objects
from inference.responses.event_frames import Frame, place_of
from inference.responses.open_items import OpenItem, queries_of
from persistence.types import JSON

EARLIER = frozenset(
    {
        "code_interpreter_call",
        "image_generation_call",
        "mcp_approval_request",
        "mcp_approval_response",
        "mcp_list_tools",
    }
)
"""Types of the items of a context that a response's tools know (`ToolContext.earlier`)."""

IMAGE_MEMBERS = ("action", "background", "output_format", "quality", "revised_prompt", "size")
"""What the item of a generated image shows beside the image."""


class ToolItem:
    """How the calls of one tool look; this class has what most tools have in common."""

    def item(self, call: Call, opened: OpenItem, status: str) -> JSON:
        """Return a call in its stored form; `status` is in_progress, completed, incomplete or failed."""
        raise NotImplementedError

    def start(self, call: Call, opened: OpenItem) -> list[Frame]:  # noqa: ARG002 - of the interface
        """Return the events behind `response.output_item.added`."""
        return [(f"response.{opened.type}.in_progress", place_of(opened))]

    def grow(self, call: Call, opened: OpenItem, text: str) -> list[Frame]:  # noqa: ARG002 - of the interface
        """Return the events of a piece of the call's arguments, which are part of `call` already."""
        return []

    def progress(self, opened: OpenItem, phase: str, data: JSON) -> list[Frame]:
        """Return the events of what the tool emits."""
        return [(f"response.{opened.type}.{phase}", {**place_of(opened), **data})]

    def end(self, opened: OpenItem, finished: JSON) -> list[Frame]:
        """Return the events ahead of `response.output_item.done`."""
        if finished["status"] not in ("completed", "failed"):
            return []
        return [(f"response.{opened.type}.{finished['status']}", place_of(opened))]


class FileSearchItem(ToolItem):
    """A search of files, with its queries and results."""

    def item(self, call: Call, opened: OpenItem, status: str) -> JSON:
        """Return the item; results are shown where `include` asks for them."""
        found = call.details.get("results") or []
        results = [objects.file_search_result(each) for each in found] if status == "completed" else None
        return objects.file_search_item(opened.id, status, queries_of(str(call.arguments)), results)


class ImageGenerationItem(ToolItem):
    """A generated image; `result` is a reference where the response is stored."""

    def item(self, call: Call, opened: OpenItem, status: str) -> JSON:
        """Return the item with what is known of the image."""
        details = call.details
        known = {name: details[name] for name in IMAGE_MEMBERS if details.get(name) is not None}
        status = "failed" if status == "incomplete" else status
        return {
            "id": opened.id,
            "type": opened.type,
            "status": status,
            "result": details.get("result"),
            **known,
        }

    def end(self, opened: OpenItem, finished: JSON) -> list[Frame]:
        """Return the event of a completed image; one that failed has none."""
        return super().end(opened, finished) if finished["status"] == "completed" else []


TOOL_ITEMS: dict[str, ToolItem] = {
    "file_search_call": FileSearchItem(),
    "image_generation_call": ImageGenerationItem(),
}
"""By the type of the item."""
