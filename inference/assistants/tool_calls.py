"""Calls of the server's tools as run steps show them: an entry for each type of item."""

from typing import Self

import orjson

from inference.code.arguments import CodeReader, code_of
from inference.engine.items import Call
from persistence.types import JSON

CODE, IMAGE = "code_interpreter_call", "image_generation_call"


class ToolCall:
    """How the calls of one tool look in a step, and in the deltas of a stream.

    Deltas have the call's members without `id`, `index` and `type`, which the renderer adds.
    """

    def opened(self) -> Self:
        """Return what shows one call from its beginning; it may keep what it needs of earlier deltas."""
        return self

    def shown(self, call: Call) -> JSON:
        """Return the member of a step's call that is named by the tool's type."""
        return call.details

    def start(self, call: Call) -> JSON | None:  # noqa: ARG002 - of the interface
        """Return the delta with which the call begins; None for none."""
        return None

    def grow(self, call: Call, text: str) -> JSON | None:  # noqa: ARG002 - of the interface
        """Return the delta of a piece of the call's arguments, which are part of `call` already."""
        return None

    def progress(self, call: Call, phase: str, data: JSON) -> JSON | None:  # noqa: ARG002 - of the interface
        """Return the delta of what the tool emits."""
        return None

    def finish(self, call: Call) -> JSON | None:
        """Return the delta with which the call ends."""
        return self.shown(call)


class ImageGenerationCall(ToolCall):
    """A generated image: the id of its file, and what is known of it."""

    def shown(self, call: Call) -> JSON:
        """Return what a step shows; why a call failed, too."""
        shown = {name: value for name, value in call.details.items() if name != "bytes"}
        return shown if call.error is None else {**shown, "error": call.error}


class WebSearchCall(ToolCall):
    """A search of the web, or a page that was opened, with its sources."""

    def shown(self, call: Call) -> JSON:
        """Return the action, and why it failed if it did."""
        return {"action": call.details["action"], **({"error": call.error} if call.error else {})}


class CodeInterpreterCall(ToolCall):
    """Code, and what it shows: logs and images, which are files of the API."""

    def __init__(self) -> None:
        self._reader = CodeReader()
        self._outputs: list[JSON] = []

    def opened(self) -> Self:
        """Return a reader of the code of one call."""
        return type(self)()

    def shown(self, call: Call) -> JSON:
        """Return code and outputs, those so far of code that was ended."""
        outputs = call.details.get("outputs") or self._outputs
        return {"input": code_of(str(call.arguments)), "outputs": outputs}

    def start(self, call: Call) -> JSON | None:  # noqa: ARG002 - of the interface
        """Return the delta with which the code begins."""
        return {"input": "", "outputs": []}

    def grow(self, call: Call, text: str) -> JSON | None:  # noqa: ARG002 - of the interface
        """Return the code that a piece of the arguments adds."""
        code = self._reader.read(text)
        return {"input": code} if code else None

    def progress(self, call: Call, phase: str, data: JSON) -> JSON | None:  # noqa: ARG002 - of the interface
        """Return logs and images as they come."""
        if phase != "output":
            return None
        self._outputs = with_output(self._outputs, data)
        return {"outputs": [data]}

    def finish(self, call: Call) -> JSON | None:  # noqa: ARG002 - of the interface
        """Return nothing: clients have everything already."""
        return None


def with_output(outputs: list[JSON], delta: JSON) -> list[JSON]:
    """Return outputs with what a delta adds: to the logs of its index, or behind all."""
    output = {name: value for name, value in delta.items() if name != "index"}
    if delta["index"] == len(outputs):
        return [*outputs, output]
    return [*outputs[:-1], {**output, "logs": outputs[-1]["logs"] + output["logs"]}]


def shown_images(calls: list[Call]) -> list[str]:
    """Return the files of the images that calls have made or shown."""
    files: list[str] = []
    for call in calls:
        if call.type == CODE:
            outputs = call.details.get("outputs") or ()
            files += [each["image"]["file_id"] for each in outputs if each["type"] == "image"]
        elif call.type == IMAGE and "file_id" in call.details:
            files.append(call.details["file_id"])
    return files


class MCPToolCall(ToolCall):
    """A call of an MCP server's tool."""

    def shown(self, call: Call) -> JSON:
        """Return the call with its output or its error."""
        output = call.output if call.error is None else None
        return {**self._named(call, str(call.arguments)), "output": output, "error": call.error}

    def start(self, call: Call) -> JSON | None:
        """Return the call without arguments."""
        return {**self._named(call, ""), "output": None, "error": None}

    def grow(self, call: Call, text: str) -> JSON | None:  # noqa: ARG002 - of the interface
        """Return a piece of the arguments."""
        return {"arguments": text}

    def finish(self, call: Call) -> JSON | None:
        """Return the output or the error."""
        shown = self.shown(call)
        return {"output": shown["output"], "error": shown["error"]}

    def _named(self, call: Call, arguments: str) -> JSON:
        details = call.details
        named = {"server_label": details["server_label"], "name": details["name"], "arguments": arguments}
        approved = details.get("approval_request_id")
        return named if approved is None else {**named, "approval_request_id": approved}


def approval_function(call: Call) -> JSON:
    """Return a request for approval as a function that the caller is asked to run.

    Its output is the answer: `approve` or `deny`.
    """
    details = call.details
    asked = {"server_label": details["server_label"], "name": details["name"]}
    arguments = orjson.dumps({**asked, "arguments": str(call.arguments) or "{}"}).decode()
    return {"name": call.type, "arguments": arguments}


TOOL_CALLS: dict[str, ToolCall] = {
    CODE: CodeInterpreterCall(),
    IMAGE: ImageGenerationCall(),
    "mcp_call": MCPToolCall(),
    "web_search_call": WebSearchCall(),
}
"""By the type of the item; types that are not here are shown with their details."""
