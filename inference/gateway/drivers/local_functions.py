"""Function calls for a local model that cannot choose or make them itself.

The local chat model is too small to decide whether to call a function, and its template has no place
for functions. If the request forces a call, the model writes the arguments under their schema.
file_search is called once for each question, with the question's own words. Other functions are never
called under `tool_choice: auto`.
"""

import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from persistence.types import JSON

FILE_SEARCH = "file_search"
LONGEST_QUERY = 1000


@dataclass(frozen=True, slots=True)
class Call:
    """A function to call. `arguments` is None if the model has to write them."""

    name: str
    schema: JSON
    arguments: str | None = None
    id: str = ""

    def request(self, request: JSON) -> JSON:
        """Return the request that makes the model write the arguments."""
        asked = f"Write the arguments of {self.name} as JSON."
        plain = without_functions(request)
        schema = {"type": "json_schema", "json_schema": {"name": "arguments", "schema": self.schema}}
        messages = [*plain["messages"], {"role": "user", "content": asked}]
        return {**plain, "messages": messages, "response_format": schema}

    def answer(self, completion: JSON) -> JSON:
        """Turn a completion whose text is the arguments into one that calls the function."""
        for choice in completion["choices"]:
            function = {"name": self.name, "arguments": choice["message"]["content"] or ""}
            call = {"id": self.id, "type": "function", "function": function}
            choice["message"] = {"role": "assistant", "content": None, "tool_calls": [call]}
            choice["finish_reason"] = _finish(choice["finish_reason"])
        return completion

    def chunk(self, chunk: JSON) -> JSON:
        """Turn a chunk of such a stream into one of a function call."""
        for choice in chunk.get("choices", ()):
            delta, text = choice["delta"], choice["delta"].get("content")
            choice["finish_reason"] = _finish(choice.get("finish_reason"))
            if "role" in delta:
                function = {"name": self.name, "arguments": text or ""}
                call = {"index": 0, "id": self.id, "type": "function", "function": function}
                choice["delta"] = {"role": "assistant", "content": None, "tool_calls": [call]}
            elif text is not None:
                choice["delta"] = {"tool_calls": [{"index": 0, "function": {"arguments": text}}]}
        return chunk

    def completion(self) -> JSON:
        """Return a completion that makes this call, with known arguments."""
        choice = {"index": 0, "message": {"content": self.arguments}, "finish_reason": "stop"}
        return self.answer({**_head("chat.completion"), "choices": [choice], "usage": _NO_USAGE})

    def chunks(self, request: JSON) -> list[JSON]:
        """Return the same as the chunks of a stream."""
        head = _head("chat.completion.chunk")
        delta = {"role": "assistant", "content": self.arguments}
        first = {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
        last = {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
        chunks = [self.chunk(first), self.chunk(last)]
        if (request.get("stream_options") or {}).get("include_usage"):
            chunks.append({**head, "choices": [], "usage": _NO_USAGE})
        return chunks


_NO_USAGE = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
"""The usage of an answer for which no model was asked."""


def _head(object_: str) -> JSON:
    id = f"chatcmpl-{secrets.token_hex(12)}"
    return {"id": id, "object": object_, "created": int(time.time()), "model": "local"}


def _finish(reason: str | None) -> str | None:
    return "tool_calls" if reason == "stop" else reason


def candidates(request: JSON) -> list[Call]:
    """Return the functions of which the request calls one; none if the model just answers."""
    functions = [tool["function"] for tool in request.get("tools") or () if tool.get("type") == "function"]
    choice = request.get("tool_choice")
    if isinstance(choice, dict):
        name = choice.get("function", {}).get("name")
        return [_call(function) for function in functions if function["name"] == name]
    if choice == "required":
        return [_call(function) for function in functions]
    question = _unanswered(request["messages"])
    searches = [function for function in functions if function["name"] == FILE_SEARCH]
    if choice == "none" or not question or not searches:
        return []
    return [_call(searches[0], orjson.dumps({"queries": [question[:LONGEST_QUERY]]}).decode())]


def _call(function: Mapping[str, Any], arguments: str | None = None) -> Call:
    schema = function.get("parameters") or {"type": "object", "properties": {}}
    return Call(function["name"], schema, arguments, f"call_{secrets.token_hex(12)}")


def _unanswered(messages: Sequence[JSON]) -> str:
    """Return the last message's text if it is a user's: a question without a call so far."""
    return text_of(messages[-1]) if messages and messages[-1]["role"] == "user" else ""


def text_of(message: JSON) -> str:
    """Return the text of a message's content, a string or parts."""
    content = message.get("content") or ""
    return content if isinstance(content, str) else "\n".join(part.get("text", "") for part in content)


def without_functions(request: JSON) -> JSON:
    """Return the request with the results of functions written into the question they belong to."""
    messages: list[JSON] = []
    found: list[str] = []
    for message in request["messages"]:
        text, role = text_of(message), message["role"]
        if role in ("tool", "function"):
            found.append(text)
        elif text:
            _add_results(messages, found)
            messages.append({"role": "system" if role == "developer" else role, "content": text})
    _add_results(messages, found)
    functions = ("tools", "tool_choice", "parallel_tool_calls", "functions", "function_call")
    kept = {name: value for name, value in request.items() if name not in functions}
    return {**kept, "messages": messages}


def _add_results(messages: list[JSON], found: list[str]) -> None:
    """Put the results ahead of the last question, where a small model uses them best."""
    if found and messages and messages[-1]["role"] == "user":
        passages = "\n\n".join(found)
        messages[-1]["content"] = (
            f"Use the following to answer the question.\n\n{passages}\n\n"
            f"Question: {messages[-1]['content']}\nAnswer:"
        )
    found.clear()
