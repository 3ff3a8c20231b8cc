"""Finds the script in a request, and what its turn says."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from persistence.types import JSON

FORCED = {"code_interpreter": {"code": "print(6 * 7)"}}
"""The arguments of functions that the model is forced to call, or calls without a script."""

ENDED = {"text": "The script has ended."}


@dataclass(frozen=True, slots=True)
class Turn:
    """One answer of the model, and what to do to it."""

    tag: str = ""
    number: int = 0
    step: JSON = field(default_factory=dict)

    @classmethod
    def of(cls, body: JSON) -> "Turn":
        """The turn that the messages (or the input of embeddings) ask for."""
        messages = (
            body.get("messages")
            or _geminis(body)
            or [{"role": "user", "content": body.get("input") or body.get("inputs") or body.get("prompt")}]
        )
        for roles in (("user",), ("system", "developer")):
            for place in range(len(messages) - 1, -1, -1):
                message = messages[place]
                if message.get("role") in roles and (script := _script(text_of(message))):
                    start = place if roles == ("user",) else _last_user(messages)
                    number = sum(other.get("role") == "assistant" for other in messages[start:])
                    return cls._turn(script, number, body.get("model", ""))
        return cls()

    @classmethod
    def _turn(cls, script: JSON, number: int, model: str) -> "Turn":
        turns = script.get("by_model", {}).get(model, script.get("turns", []))
        step = turns[number] if number < len(turns) else ENDED
        return cls(script.get("tag", ""), number, step)

    def text(self, body: JSON) -> str | None:
        """What the model says in this turn, None where it only calls functions."""
        if not self.step.keys() & {"text", "calls"}:
            return f"You said: {_last(body, 'user')}"
        if "text" not in self.step:
            return None
        text = self.step["text"] * self.step.get("repeat", 1)
        return re.sub(r"\{(tool|user|find:(.+?))\}(?!\})", lambda match: _filled(match, body), text)

    def calls(self, body: JSON) -> list[JSON]:
        """The function calls of this turn on OpenAI's wire."""
        calls = self.step.get("calls")
        if calls is None and "text" not in self.step:
            calls = [{"name": name, "arguments": FORCED.get(name, {})} for name in _forced(body)]
        return [
            {
                "id": call.get("id") or f"call_{self.tag or 'fake'}_{self.number}_{place}",
                "type": "function",
                "function": {"name": call["name"], "arguments": _arguments(call.get("arguments", {}))},
            }
            for place, call in enumerate(calls or [])
        ]

    def pieces(self, text: str) -> list[str]:
        """The text as it is streamed; joined they are the text."""
        count = self.step.get("chunks")
        if count is None:
            return re.findall(r"\s*\S+\s*$|\s*\S+", text) or [text]
        size = max(1, -(-len(text) // count))
        return [text[start : start + size] for start in range(0, len(text), size)]


def _geminis(body: JSON) -> list[JSON]:
    """The messages of Gemini's wire."""
    roles = {"model": "assistant"}
    return [
        {"role": roles.get(message.get("role"), "user"), "content": message.get("parts")}
        for message in body.get("contents", ())
    ]


def text_of(message: JSON) -> str:
    """The text of a message's content, of either form."""
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    parts = (
        part if isinstance(part, str) else part.get("text")
        for part in content
        if isinstance(part, (str, dict))
    )
    return "\n".join(part for part in parts if isinstance(part, str))


def _script(text: str) -> JSON | None:
    _, found, rest = text.partition("script:")
    return json.JSONDecoder().raw_decode(rest.lstrip())[0] if found else None


def _last_user(messages: list[JSON]) -> int:
    places = [place for place, message in enumerate(messages) if message.get("role") == "user"]
    return places[-1] if places else 0


def _last(body: JSON, role: str) -> str:
    texts = [text_of(message) for message in body.get("messages", ()) if message.get("role") == role]
    return texts[-1] if texts else ""


def _filled(match: re.Match[str], body: JSON) -> str:
    if match[1] == "user":
        return _last(body, "user")
    content = _last(body, "tool")
    if match[1] == "tool":
        return content
    found = re.search(match[2], content)
    return found[0] if found else ""


def _arguments(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _forced(body: JSON) -> Iterator[str]:
    choice = body.get("tool_choice")
    if isinstance(choice, dict) and choice.get("type") != "auto":  # Anthropic's `auto` is an object
        yield choice.get("function", {}).get("name") or choice.get("name", "")
    elif choice == "required" or _is_eager(body):
        yield body["tools"][0]["function"]["name"]


def _is_eager(body: JSON) -> bool:
    """Whether the model calls the first function offered, once, without being asked to."""
    messages = body.get("messages") or [{}]
    return "eager" in body.get("model", "") and bool(body.get("tools")) and messages[-1].get("role") != "tool"
