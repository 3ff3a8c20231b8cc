"""Calls of the server's tools as run steps show them: an entry for each type of item."""

from inference.engine.items import Call
from persistence.types import JSON


class ToolCall:
    """How the calls of one tool look in a step, and in the deltas of a stream.

    Deltas have the call's members without `id`, `index` and `type`, which the renderer adds.
    """

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


TOOL_CALLS: dict[str, ToolCall] = {"image_generation_call": ImageGenerationCall()}
"""By the type of the item; types that are not here are shown with their details."""
