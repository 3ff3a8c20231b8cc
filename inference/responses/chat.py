"""Items of a context as the chat messages that a model reads."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from inference.gateway.answers.thinking import joined
from inference.gateway.chat_members import BREAKPOINT, PHASE
from inference.input_files import InputFiles
from inference.responses.hosted_calls import HOSTED, HostedCall, denials, text_part
from inference.responses.items import EXTRA, OUTPUT_TYPES
from inference.responses.pairs import pair_outputs
from inference.responses.tools import RequestTools
from persistence.large_json import Pauses
from persistence.types import JSON

NO_OUTPUT = "[There is no output.]"


async def chat_messages(items: list[JSON], files: InputFiles, tools: RequestTools | None) -> list[JSON]:
    """Return a context's items as chat messages.

    Reasoning, messages and calls of one turn become one assistant's message, the outputs of its calls the
    messages of role `tool` behind it. Members say what an item's sealed content holds: `blocks` and `text` of
    reasoning (thinking blocks for its provider, or plain), `summary_text` and `system` texts of a compaction.
    """
    pairs, orphans = pair_outputs(items)
    await asyncio.sleep(0)  # that took long for 50,000 items
    contents = await _contents(items, files)
    writer, pauses = _Writer(tools or RequestTools()), Pauses()
    skipped = frozenset(orphans)
    denied = denials(items)
    for index, item in enumerate(items):
        output = pairs.get(index)
        if item["type"] == "mcp_approval_request" and item["id"] in denied:
            writer.add_hosted(item["id"], denied[item["id"]], denied[item["id"]].output)
        elif index not in skipped:
            writer.add(item, contents.get(index), None if output is None else contents[output])
        await pauses.pause_if_due()
    writer.end_turn()
    return writer.messages_once()


# --- parts ---


async def _contents(items: list[JSON], files: InputFiles) -> dict[int, list[JSON]]:
    """Return the parts of messages and outputs by their item's index.

    The newest come first, as there may be more images and files than fit a request.
    """
    contents, pauses = dict[int, list[JSON]](), Pauses()
    for index in range(len(items) - 1, -1, -1):
        parts = _parts(items[index])
        if parts is not None:
            contents[index] = [await _chat_part(part, files) for part in parts]
        await pauses.pause_if_due()
    return contents


def _parts(item: JSON) -> list[JSON] | None:
    """Return the parts of a message or of a call's output; None for other items."""
    hosted = HOSTED.get(item["type"])
    if hosted is not None:
        return hosted(item).output
    read = _PARTS.get(item["type"])
    return None if read is None else read(item)


async def _chat_part(part: JSON, files: InputFiles) -> JSON:
    made = await _content_part(part, files)
    return {**made, BREAKPOINT: part[BREAKPOINT]} if part.get(BREAKPOINT) else made


async def _content_part(part: JSON, files: InputFiles) -> JSON:
    match part["type"]:
        case "input_image" | "computer_screenshot":
            image = {"detail": part.get("detail") or "auto"}
            if part.get("image_url"):
                return files.image_by_url({"url": part["image_url"], **image})
            if part.get("file_id"):
                return await files.image_by_id({"file_id": part["file_id"], **image})
            return text_part("[The image is no longer there.]")
        case "input_file":
            if part.get("file_id"):
                return await files.file_by_id(part["file_id"])
            if part.get("file_url"):
                return await files.file_by_url(part["file_url"], part.get("filename"))
            return await files.file_by_data(part.get("file_data") or "", part.get("filename") or "file.pdf")
        case "input_audio":
            return {"type": "input_audio", "input_audio": part["input_audio"]}
        case "refusal":
            return text_part(part["refusal"])
        case _:
            return text_part(part.get("text") or "")


def _output_parts(item: JSON) -> list[JSON]:
    output = item.get("output")
    if isinstance(output, dict):
        return [output]
    if isinstance(output, list):
        return output
    return [text_part(str(output or item.get("status") or ""))]


def _shell_parts(item: JSON) -> list[JSON]:
    return [text_part("\n".join(_shell_text(each) for each in item["output"]))]


def _shell_text(output: JSON) -> str:
    outcome = output["outcome"]
    end = "timed out" if outcome["type"] == "timeout" else f"exit code {outcome['exit_code']}"
    return "\n".join(filter(None, (output["stdout"], output["stderr"], f"[{end}]")))


def _apply_patch_parts(item: JSON) -> list[JSON]:
    return [text_part(f"{item['status']}\n{item.get('output') or ''}".strip())]


def _tool_search_parts(item: JSON) -> list[JSON]:
    names = [definition["function"]["name"] for definition in RequestTools.of([], None, [item]).functions]
    return [
        text_part(f"Tools that are available now: {', '.join(names)}." if names else "No tools were found.")
    ]


_PARTS: dict[str, Callable[[JSON], list[JSON]]] = {
    "message": lambda item: item["content"],
    "function_call_output": _output_parts,
    "custom_tool_call_output": _output_parts,
    "computer_call_output": _output_parts,
    "local_shell_call_output": _output_parts,
    "shell_call_output": _shell_parts,
    "apply_patch_call_output": _apply_patch_parts,
    "tool_search_output": _tool_search_parts,
    "program_output": lambda item: [text_part(item["result"])],
}


def _joined(parts: list[JSON]) -> str | list[JSON]:
    """Return parts as a chat message's content: a text if they are texts only."""
    if all(part["type"] == "text" and BREAKPOINT not in part for part in parts):
        return "\n".join(part["text"] for part in parts)
    return parts


# --- messages ---


@dataclass(slots=True)
class _Turn:
    """An assistant's turn; `answers` are the parts of the outputs of its calls, in their order."""

    texts: list[JSON] = field(default_factory=list)
    blocks: list[JSON] = field(default_factory=list)
    thoughts: list[str] = field(default_factory=list)
    calls: list[JSON] = field(default_factory=list)
    answers: list[list[JSON]] = field(default_factory=list)
    is_answered: bool = False

    def _content(self) -> str | list[JSON]:
        has_phases = any(PHASE in part for part in self.texts)
        return self.texts if has_phases else "\n".join(part["text"] for part in self.texts)

    def messages(self) -> list[JSON]:
        """Return the turn as messages; images of outputs follow as the user's, as tools answer texts."""
        if not (self.texts or self.calls):
            return []
        message: JSON = {"role": "assistant", "content": self._content() or None}
        if self.calls:
            message["tool_calls"] = self.calls
        if self.calls and self.blocks:
            message["thinking_blocks"] = joined(self.blocks)
        elif self.calls and self.thoughts:
            message["reasoning_content"] = "\n".join(self.thoughts)
        outputs: list[JSON] = []
        media: list[JSON] = []
        for call, parts in zip(self.calls, self.answers, strict=True):
            texts = [part for part in parts if part["type"] == "text"]
            others = [part for part in parts if part["type"] != "text"]
            if others:
                name = call["function"]["name"]
                texts.append(text_part(f"[Images and files of this output follow as '{call['id']}'.]"))
                media += [text_part(f"[Output '{call['id']}' of {name}:]"), *others]
            outputs.append({"role": "tool", "tool_call_id": call["id"], "content": _joined(texts)})
        return [message, *outputs, *([{"role": "user", "content": media}] if media else ())]


class _Writer:
    """Writes messages, turn by turn."""

    def __init__(self, tools: RequestTools) -> None:
        self.messages: list[JSON] = []
        self._tools = tools
        self._turn = _Turn()
        self._carried: list[JSON] = []

    def messages_once(self) -> list[JSON]:
        """Return the messages; what a compaction carries is left out if the context still has it."""
        carried = {id(message) for message in self._carried}
        others = [message for message in self.messages if id(message) not in carried]
        repeated = {id(message) for message in self._carried if message in others}
        return [message for message in self.messages if id(message) not in repeated]

    def end_turn(self) -> None:
        """Write the turn that is open."""
        self.messages += self._turn.messages()
        self._turn = _Turn()

    def add(self, item: JSON, content: list[JSON] | None, output: list[JSON] | None) -> None:
        """Add an item with its parts, and the parts of its output."""
        type = item["type"]
        if type == "message" and item["role"] != "assistant":
            self.end_turn()
            role = "system" if item["role"] == "developer" else item["role"]
            self.messages.append({"role": role, "content": _joined(content or [])})
        elif type == "message":
            phase = {PHASE: item[PHASE]} if item.get(PHASE) else {}
            self._open().texts += [{**part, **phase} for part in content or ()]
        elif type == "reasoning":
            turn = self._open()
            turn.blocks += item.get("blocks") or ()
            shown = (part["text"] for part in item.get("content") or ())
            turn.thoughts += [item["text"]] if item.get("text") else shown
        elif type in OUTPUT_TYPES:
            name, arguments = self._tools.function_call(item)
            id = item.get("call_id") or item["id"]
            self._call(id, name, arguments, output or [text_part(NO_OUTPUT)], item.get(EXTRA))
        elif type in HOSTED:
            self.add_hosted(item["id"], HOSTED[type](item), content or [])
        elif content is not None:
            self._turn.is_answered = True
        elif type == "compaction":
            self.end_turn()
            self._carried += [{"role": "system", "content": text} for text in item.get("system") or ()]
            if item.get("summary_text"):
                self.messages += [*self._carried, {"role": "user", "content": item["summary_text"]}]

    def add_hosted(self, id: str, call: HostedCall, output: list[JSON]) -> None:
        """Add a call that a server answered."""
        self._call(id, call.name, call.arguments, output)
        self._turn.is_answered = True

    def _open(self) -> _Turn:
        """Return the turn that the model's next item belongs to: a new one after outputs."""
        if self._turn.is_answered:
            self.end_turn()
        return self._turn

    def _call(
        self, call_id: str, name: str, arguments: str, output: list[JSON], extra: JSON | None = None
    ) -> None:
        turn = self._open()
        function = {"name": name, "arguments": arguments or "{}"}
        turn.calls.append({**(extra or {}), "id": call_id, "type": "function", "function": function})
        turn.answers.append(output)
