"""Calls of the server's tools as items of a response, and as its events: an entry for each type of item."""

from collections.abc import Iterable, Iterator

from inference.code.arguments import code_of
from inference.engine.items import Call, ToolList
from inference.responses import objects
from inference.responses.event_frames import Frame, delta, place_of
from inference.responses.open_items import OpenItem, queries_of
from persistence.types import JSON

CODE = "code_interpreter_call"

EARLIER = frozenset(
    {
        CODE,
        "image_generation_call",
        "mcp_approval_request",
        "mcp_approval_response",
        "mcp_list_tools",
        "web_search_call",
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


class CodeInterpreterItem(ToolItem):
    """Code that runs in a container, and what it shows."""

    def item(self, call: Call, opened: OpenItem, status: str) -> JSON:
        """Return the item; outputs are shown where `include` asks for them."""
        has_ended = status in ("completed", "failed")
        return {
            "id": opened.id,
            "type": call.type,
            "status": status,
            "code": code_of(str(call.arguments)),
            "container_id": call.details["container_id"],
            "outputs": [_output(each) for each in call.details["outputs"]] if has_ended else None,
        }

    def grow(self, call: Call, opened: OpenItem, text: str) -> list[Frame]:  # noqa: ARG002 - of the interface
        """Return the event of the code that a piece of the arguments adds."""
        code = opened.code.read(text)
        return [delta("code_interpreter_call_code", opened, code)] if code else []

    def progress(self, opened: OpenItem, phase: str, data: JSON) -> list[Frame]:
        """Return the events of the end of the code; outputs have none."""
        if phase != "interpreting":
            return []
        done = {**place_of(opened), "code": opened.code.code}
        return [("response.code_interpreter_call_code.done", done), *super().progress(opened, phase, data)]

    def end(self, opened: OpenItem, finished: JSON) -> list[Frame]:
        """Return the event of code that has run; the API has none for code that could not."""
        return super().end(opened, finished) if finished["status"] == "completed" else []


def _output(output: JSON) -> JSON:
    return {name: value for name, value in output.items() if name != "file"}


def made_images(calls: Iterable[Call]) -> Iterator[JSON]:
    """Yield the images that the code of calls has made, as files of its container."""
    for call in calls:
        if call.type == CODE:
            yield from (each["file"] for each in call.details["outputs"] if "file" in each)
            yield from call.details.get("images") or ()


class WebSearchItem(ToolItem):
    """A search of the web, or a page that was opened; sources and results are shown where `include` asks."""

    def item(self, call: Call, opened: OpenItem, status: str) -> JSON:
        """Return the item; its arguments become its action when it is run."""
        status = "failed" if status == "incomplete" else status
        item = {"id": opened.id, "type": opened.type, "status": status, "action": call.details["action"]}
        return item if status == "in_progress" else {**item, "results": call.details.get("results") or []}

    def end(self, opened: OpenItem, finished: JSON) -> list[Frame]:
        """Return the event of a search that has answered; there is none for one that failed."""
        return super().end(opened, finished) if finished["status"] == "completed" else []


class MCPCallItem(ToolItem):
    """A call of an MCP server's tool."""

    def item(self, call: Call, opened: OpenItem, status: str) -> JSON:
        """Return the item; the model reads the text of an error too."""
        is_failed = call.error is not None and status == "failed"
        return {
            "id": opened.id,
            "type": opened.type,
            "server_label": call.details["server_label"],
            "name": call.details["name"],
            "arguments": "" if status == "in_progress" else str(call.arguments) or "{}",
            "output": None if is_failed else call.output,
            "error": _mcp_error(call.error) if is_failed and call.error else None,
            "status": status,
            "approval_request_id": call.details.get("approval_request_id"),
        }

    def grow(self, call: Call, opened: OpenItem, text: str) -> list[Frame]:  # noqa: ARG002 - of the interface
        """Return the arguments' delta."""
        return [delta("mcp_call_arguments", opened, text)]

    def progress(self, opened: OpenItem, phase: str, data: JSON) -> list[Frame]:
        """Return the end of the arguments."""
        return [(f"response.mcp_call_{phase}", {**place_of(opened), **data})]


def _mcp_error(error: JSON) -> JSON:
    """Return an error in one of the three forms of these items; the engine's own have no type."""
    if "type" in error:
        return error
    return {"type": "mcp_tool_execution_error", "content": [{"type": "text", "text": error["message"]}]}


class ApprovalRequestItem(ToolItem):
    """A call of an MCP server's tool that waits for the caller's approval."""

    def item(self, call: Call, opened: OpenItem, status: str) -> JSON:
        """Return the item."""
        return {
            "id": opened.id,
            "type": opened.type,
            "server_label": call.details["server_label"],
            "name": call.details["name"],
            "arguments": "" if status == "in_progress" else str(call.arguments) or "{}",
        }

    def start(self, call: Call, opened: OpenItem) -> list[Frame]:  # noqa: ARG002 - of the interface
        """Return nothing: there are no events but those of the item."""
        return []

    def end(self, opened: OpenItem, finished: JSON) -> list[Frame]:  # noqa: ARG002 - of the interface
        """Return nothing."""
        return []


def tool_list_item(tools: ToolList, opened: OpenItem) -> JSON:
    """Return a list of an MCP server's tools as an item."""
    return {"id": opened.id, "type": opened.type, **tools.details}


def tool_list_end(opened: OpenItem, finished: JSON) -> Frame:
    """Return the event that ends a list of tools."""
    status = "completed" if finished["error"] is None else "failed"
    return f"response.{opened.type}.{status}", place_of(opened)


TOOL_ITEMS: dict[str, ToolItem] = {
    CODE: CodeInterpreterItem(),
    "file_search_call": FileSearchItem(),
    "image_generation_call": ImageGenerationItem(),
    "mcp_approval_request": ApprovalRequestItem(),
    "mcp_call": MCPCallItem(),
    "web_search_call": WebSearchItem(),
}
"""By the type of the item."""
