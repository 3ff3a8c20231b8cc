"""Convert the chunks of a provider's streamed completion to OpenAI's form."""

import time
from dataclasses import dataclass, field

from inference.gateway import failures
from inference.gateway.answers import fields, tolerant_json
from inference.gateway.answers.calls import CallDeltas, arguments_text
from inference.gateway.answers.thinking import ThinkingDeltas, are_blocks
from inference.gateway.routing.targets import Target
from inference.identifiers import new_id
from persistence.types import JSON

CHAT_CHUNK = "chat.completion.chunk"
TEXT_CHUNK = "text_completion"

_PLAIN_DELTA = frozenset({"content", "role", "refusal"})
_WITH_EMPTY_CALLS = frozenset({"stop", "tool_calls"})


@dataclass(slots=True)
class _Choice:
    calls: CallDeltas = field(default_factory=CallDeltas)
    thinking: ThinkingDeltas = field(default_factory=ThinkingDeltas)
    is_finished: bool = False
    surrogate: str = ""
    """The first half of a surrogate pair whose second half comes in the next chunk."""


class ChunkNormalizer:
    """Converts each chunk of one stream to OpenAI's form, in place.

    Raises ProviderBroken for what cannot be read, with the provider's words if there are any.
    """

    def __init__(self, target: Target, object: str) -> None:
        self._target = target
        self._object = object
        self._is_chat = object == CHAT_CHUNK
        self._choices: dict[int, _Choice] = {}
        self._id = ""
        self._created = 0

    @property
    def has_chunks(self) -> bool:
        """Whether any chunk has arrived."""
        return bool(self._id)

    @property
    def is_finished(self) -> bool:
        """Whether every choice so far, and at least one, has its finish reason."""
        choices = self._choices
        return bool(choices) and all(choice.is_finished for choice in choices.values())

    @property
    def holds_text(self) -> bool:
        """Whether half of a surrogate pair waits for the next chunk."""
        return any(choice.surrogate for choice in self._choices.values())

    def take(self, chunk: JSON) -> bool:
        """Convert `chunk`; return whether it was changed."""
        changed = self._head(chunk)
        choices = chunk.get("choices")
        if choices is None:
            choices = chunk["choices"] = []
            changed = True
        if not isinstance(choices, list):
            raise failures.unreadable("the choices of a chunk are not a list")
        for position, choice in enumerate(choices):
            if not isinstance(choice, dict):
                raise failures.unreadable("a choice of a chunk is not an object")
            changed |= self._choice(choice, position)
        return changed

    def closing(self) -> list[JSON]:
        """Return the chunk that finishes the choices which the provider left without a finish reason."""
        open_choices = [(index, choice) for index, choice in self._choices.items() if not choice.is_finished]
        if not open_choices:
            return []
        choices = []
        for index, choice in open_choices:
            reason = "tool_calls" if choice.calls.calls else "stop"
            part: JSON = {"delta": {}} if self._is_chat else {"text": ""}
            choices.append({"index": index, **part, "logprobs": None, "finish_reason": reason})
        chunk: JSON = {"choices": choices}
        self.take(chunk)
        return [chunk]

    def _head(self, chunk: JSON) -> bool:
        id, created, model = chunk.get("id"), chunk.get("created"), chunk.get("model")
        if (
            isinstance(id, str)
            and id
            and type(created) is int
            and isinstance(model, str)
            and model
            and chunk.get("object") == self._object
            and chunk.get("usage") is None
        ):
            self._id, self._created = id, created
            return False
        if not isinstance(id, str) or not id:
            prefix = "chatcmpl-" if self._is_chat else "cmpl-"
            chunk["id"] = self._id or new_id(prefix)
        self._id = chunk["id"]
        chunk["object"] = self._object
        if type(created) is not int:
            chunk["created"] = self._created or fields.timestamp(created) or int(time.time())
        self._created = chunk["created"]
        if not isinstance(model, str) or not model:
            chunk["model"] = self._target.model
        if chunk.get("usage") is not None:
            chunk["usage"] = fields.usage(chunk["usage"])
            if chunk["usage"] is None:
                del chunk["usage"]
        return True

    def _choice(self, choice: JSON, position: int) -> bool:
        index = choice.get("index")
        changed = type(index) is not int
        if type(index) is not int:
            index = choice["index"] = position
        state = self._choices.get(index)
        if state is None:
            state = self._choices[index] = _Choice()
        if self._is_chat and choice.get("logprobs") is not None:
            fields.check_logprobs(choice)
        changed |= self._delta(choice, state) if self._is_chat else self._text(choice, state)
        changed |= self._finish(choice, state)
        return changed

    def _text(self, choice: JSON, state: _Choice) -> bool:
        """Bring the text of a legacy completion to OpenAI's form."""
        given = choice.get("text")
        text = given if isinstance(given, str) else fields.text(given) or ""
        if state.surrogate or not text.isascii():
            return self._join(choice, "text", state, text) or text is not given
        choice["text"] = text
        return text is not given

    def _delta(self, choice: JSON, state: _Choice) -> bool:
        delta = choice.get("delta")
        if not isinstance(delta, dict):
            delta = choice.pop("message", None) if delta is None else delta
            delta = {} if delta is None else delta
            if not isinstance(delta, dict):
                raise failures.unreadable("the delta of a chunk is not an object")
            choice["delta"] = delta
            self._delta(choice, state)
            return True
        content = delta.get("content")
        changed = False
        if isinstance(content, str):
            if state.surrogate or not content.isascii():
                changed = self._join(delta, "content", state, content)
        elif content is not None:
            delta["content"] = fields.text(content)
            changed = True
        if delta.keys() <= _PLAIN_DELTA and not delta.get("refusal"):
            return changed
        return self._other_fields(delta, state) or changed

    @staticmethod
    def _join(part: JSON, name: str, state: _Choice, content: str) -> bool:
        """Hold back half of a surrogate pair until its other half arrives."""
        text = state.surrogate + content
        half = text[-1:] if "\ud800" <= text[-1:] <= "\udbff" else ""
        whole = tolerant_json.without_surrogates(text[: len(text) - len(half)])
        changed = bool(state.surrogate or half) or whole != content
        state.surrogate = half
        part[name] = whole
        return changed

    @staticmethod
    def _other_fields(delta: JSON, state: _Choice) -> bool:
        changed = False
        for name in fields.TEXTS & delta.keys():
            if not isinstance(delta[name], str | None):
                delta[name] = fields.text(delta[name])
                changed = True
        fields.check_message(delta)
        legacy = delta.get("function_call")
        if isinstance(legacy, dict) and not isinstance(legacy.get("arguments"), str | None):
            delta["function_call"] = {**legacy, "arguments": arguments_text(legacy["arguments"])}
            changed = True
        thinking = delta.get("thinking_blocks")
        if are_blocks(thinking):
            delta["thinking_blocks"] = state.thinking.take(thinking)
            changed = True
        if "tool_calls" not in delta:
            return changed
        given = delta["tool_calls"]
        if not given:
            del delta["tool_calls"]
            return True
        if not isinstance(given, list):
            raise failures.unreadable("the tool calls of a chunk are not a list")
        delta["tool_calls"] = [state.calls.take(call) for call in given]
        return changed or delta["tool_calls"] != given

    def _finish(self, choice: JSON, state: _Choice) -> bool:
        given = choice.get("finish_reason", "")
        if given is None:
            return False
        if isinstance(choice.get("error"), dict):
            raise failures.from_value(self._target, choice)
        reason = choice["finish_reason"] = fields.finish_reason(given)
        if reason is None:
            return True
        if reason == fields.ERROR:
            raise failures.unreadable(f"it ended with the finish reason '{given}'")
        state.is_finished = True
        changed: bool = reason != given
        delta = choice.get("delta")
        if state.surrogate:
            part, name = (choice["delta"], "content") if self._is_chat else (choice, "text")
            part[name] = (part.get(name) or "") + "\ufffd"
            state.surrogate, changed = "", True
        closing = state.calls.close() if reason in _WITH_EMPTY_CALLS else []
        if delta is not None and closing:
            self._close_calls(delta, closing)
            changed = True
        return changed

    @staticmethod
    def _close_calls(delta: JSON, closing: list[JSON]) -> None:
        """Add the empty arguments, to the call's delta if the same chunk has one."""
        present = {call["index"]: call for call in delta.get("tool_calls", ())}
        for call in closing:
            part = present.get(call["index"])
            if part is None:
                delta.setdefault("tool_calls", []).append(call)
            else:
                part["function"] = {**(part.get("function") or {}), "arguments": "{}"}
