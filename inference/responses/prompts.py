"""Prompt templates: YAML files of the operator that responses name by `prompt`.

A template has any of a response's fields in `FIELDS`, and messages that come before the input. `{{name}}` in
its instructions and in texts of its messages stands for a variable.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from inference.errors import PromptsRefused
from inference.responses.errors import PromptNotFound
from inference.responses.items import ItemRefused, stored_items
from inference.yaml_file import Entry, Where, YamlFile
from persistence.types import JSON
from spec.errors import InvalidRequest
from spec.lengths import MAX_TEXT

ASSISTANT = "asst_"
"""How the ids of assistants begin, which are prompts too."""

_VARIABLE = re.compile(r"\{\{\s*([A-Za-z_][A-Za-z0-9_.-]*)\s*\}\}")
_STEP = re.compile(r"[^.\[\]]+")
_SYSTEM = ("system", "developer")


class _Message(Entry):
    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: str | list[JSON]


class _File(Entry):
    id: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    version: Annotated[int, Field(ge=1)] = 1
    model: Any = None
    instructions: str = ""
    messages: list[_Message] = Field(default_factory=list)
    max_output_tokens: Any = None
    max_tool_calls: Any = None
    parallel_tool_calls: Any = None
    reasoning: Any = None
    service_tier: Any = None
    temperature: Any = None
    text: Any = None
    tool_choice: Any = None
    tools: Any = None
    top_logprobs: Any = None
    top_p: Any = None
    truncation: Any = None


FIELDS = frozenset(_File.model_fields) - {"id", "version", "messages"}
"""Fields of a response that a template may set."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """One version of a template, of one file."""

    id: str
    version: int
    fields: JSON
    messages: list[JSON]
    file: YamlFile

    @classmethod
    def from_file(cls, path: Path) -> "Prompt":
        """Read a file; PromptsRefused names the file, the line and the reason."""
        file = YamlFile.read(path, None, PromptsRefused)
        parsed = file.parsed(_File)
        id = parsed.id or path.stem
        if id.startswith(ASSISTANT):
            raise file.refused(("id",), f"'{ASSISTANT}' is how ids of assistants begin; choose another id")
        fields = {name: getattr(parsed, name) for name in FIELDS if name in parsed.model_fields_set}
        messages = [message.model_dump() for message in parsed.messages]
        return cls(id, parsed.version, fields, messages, file)

    def check(self, validate: Callable[[JSON], None]) -> None:
        """Check the template as the request that it stands for; PromptsRefused."""
        try:
            validate({"model": "any", **self.fields, "input": self.messages})
        except InvalidRequest as exc:
            where: Where = tuple(
                int(step) if step.isdigit() else step for step in _STEP.findall(exc.param or "")
            )
            where = ("messages", *where[1:]) if where[:1] == ("input",) else where
            raise self.file.refused(where, exc.message) from exc

    def filled(self, variables: JSON) -> JSON:
        """Return the template's fields with the variables in place; `messages` are in stored form.

        ItemRefused for a variable that is missing, unknown, too long, or a file where only text can be.
        """
        known = self._names()
        for name in known:
            if name not in variables:
                param = f"prompt.variables.{name}"
                raise ItemRefused(
                    f"Missing required parameter: '{param}'. The prompt '{self.id}' has this variable.",
                    param,
                    "missing_required_parameter",
                )
        for name in variables:
            if name not in known:
                param = f"prompt.variables.{name}"
                has = ", ".join(known) or "no variables"
                message = f"Unknown parameter: '{param}'. The prompt '{self.id}' has {has}."
                raise ItemRefused(message, param, "unknown_parameter")
        fields = dict(self.fields)
        if fields.get("instructions"):
            fields["instructions"] = _text(fields["instructions"], variables)
        messages = [_filled_message(message, variables) for message in self.messages]
        items = stored_items(messages, lambda prefix: prefix, "prompt")
        fields["messages"] = [{name: item[name] for name in ("type", "role", "content")} for item in items]
        return fields

    def _names(self) -> list[str]:
        """Return the names of the variables, in their order."""
        texts = [self.fields.get("instructions") or ""]
        for message in self.messages:
            content = message["content"]
            texts += [content] if isinstance(content, str) else [part.get("text") or "" for part in content]
        return list(dict.fromkeys(name for text in texts for name in _VARIABLE.findall(text)))


@dataclass(frozen=True, slots=True)
class Prompts:
    """The operator's templates by id and version."""

    prompts: dict[str, dict[int, Prompt]] = field(default_factory=dict)

    @classmethod
    def from_folder(cls, folder: Path) -> "Prompts":
        """Read every `.yaml` of a folder; PromptsRefused names the file, the line and the reason."""
        if not folder.is_dir():
            raise PromptsRefused(f"{folder}: is not a folder")
        prompts: dict[str, dict[int, Prompt]] = {}
        for path in sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")]):
            prompt = Prompt.from_file(path)
            other = prompts.setdefault(prompt.id, {}).setdefault(prompt.version, prompt)
            if other is not prompt:
                reason = f"{other.file.path} has version {prompt.version} of '{prompt.id}' already"
                raise prompt.file.refused(("version",), reason)
        return cls(prompts)

    def check(self, validate: Callable[[JSON], None]) -> None:
        """Check all templates; PromptsRefused."""
        for versions in self.prompts.values():
            for prompt in versions.values():
                prompt.check(validate)

    def find(self, id: str, version: str | None) -> Prompt:
        """Return a template, the newest version of it if none is named; PromptNotFound."""
        versions = self.prompts.get(id, {})
        if version is None and versions:
            return versions[max(versions)]
        found = versions.get(int(version)) if version and version.isascii() and version.isdigit() else None
        if found is None:
            raise PromptNotFound(id, version)
        return found


def instructions_with(instructions: str | None, messages: list[JSON]) -> str | list[JSON] | None:
    """Return a response's instructions: a text, or with messages of a prompt a list of items."""
    if not messages:
        return instructions
    if not instructions:
        return messages
    part = {"type": "input_text", "text": instructions}
    return [{"type": "message", "role": "developer", "content": [part]}, *messages]


def split_instructions(instructions: str | list[JSON] | None) -> tuple[str, list[JSON]]:
    """Return a response's instructions as the text that its model gets first, and items behind it."""
    if not isinstance(instructions, list):
        return instructions or "", []
    first = instructions[0]
    if first["role"] in _SYSTEM and all(part["type"] == "input_text" for part in first["content"]):
        return "\n".join(part["text"] for part in first["content"]), instructions[1:]
    return "", instructions


def _filled_message(message: JSON, variables: JSON) -> JSON:
    parts = message["content"]
    if isinstance(parts, str):
        parts = [{"type": "input_text", "text": parts}]
    if message["role"] == "assistant":
        parts = [{**part, "text": _text(part["text"], variables)} for part in parts if "text" in part]
    else:
        parts = [each for part in parts for each in _filled_part(part, variables)]
    return {**message, "content": parts}


def _filled_part(part: JSON, variables: JSON) -> list[JSON]:
    """Return a part with its variables in place: texts, and images and files between them."""
    if part["type"] != "input_text":
        return [part]
    filled: list[JSON] = []
    for piece in _pieces(part["text"], variables):
        if not isinstance(piece, str):
            filled.append(piece)
        elif piece.strip():
            filled.append({**part, "text": piece})
    return filled or [{**part, "text": ""}]


def _text(text: str, variables: JSON) -> str:
    """Return a text with its variables in place, which must be texts."""
    for name in _VARIABLE.findall(text):
        if not isinstance(_value(variables[name]), str):
            param = f"prompt.variables.{name}"
            message = f"Invalid '{param}': the prompt has it where only a text can be."
            raise ItemRefused(message, param, "invalid_value")
    return "".join(str(piece) for piece in _pieces(text, variables))


def _pieces(text: str, variables: JSON) -> list[str | JSON]:
    """Return a text with its variables in place: texts, and images and files between them."""
    pieces: list[str | JSON] = [""]
    for index, each in enumerate(_VARIABLE.split(text)):
        piece = _value(variables[each]) if index % 2 else each
        if isinstance(piece, str) and isinstance(pieces[-1], str):
            pieces[-1] += piece
        else:
            pieces.append(piece)
        if isinstance(piece, str) and len(pieces[-1]) > MAX_TEXT:
            raise ItemRefused(
                f"Invalid 'prompt.variables': they make a text of more than {MAX_TEXT} characters.",
                "prompt.variables",
                "string_above_max_length",
            )
    return pieces


def _value(value: str | JSON) -> str | JSON:
    """Return a variable's text, or the part that is an image or a file."""
    if isinstance(value, dict) and value["type"] == "input_text":
        return str(value["text"])
    return value
