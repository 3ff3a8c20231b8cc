"""Tell the tool calls of a stream apart, and convert their deltas to OpenAI's form."""

from dataclasses import dataclass
from typing import Any

import orjson

from inference.gateway import failures
from inference.identifiers import new_id
from persistence.types import JSON


@dataclass(slots=True)
class OpenCall:
    """A call whose deltas arrive; `given` is the provider's index for it, `id` is "" until one arrives."""

    index: int
    given: int | None
    id: str
    name: str
    arguments: str = ""
    opening: JSON | None = None
    """The first delta, kept because the rest of the name may follow."""


class CallDeltas:
    """The tool calls of one choice of a stream.

    A new non-empty id starts a call, and so does a new name without an id. A delta with neither
    index nor id continues the last call. Deltas go out with an index that counts the calls of the
    choice; the first delta of a call has its id, type and name.
    """

    def __init__(self) -> None:
        self.calls: list[OpenCall] = []
        self._by_id: dict[str, OpenCall] = {}
        self._by_given: dict[int | None, OpenCall] = {}

    def take(self, delta: Any) -> JSON:
        """Return a delta in OpenAI's form; raise ProviderBroken if it cannot be read."""
        if not isinstance(delta, dict):
            raise failures.unreadable("a tool call is not an object")
        id, given = delta.get("id"), delta.get("index")
        if not isinstance(id, str | None):
            raise failures.unreadable(f"a tool call has the id {id!r}"[:200])
        custom = isinstance(delta.get("custom"), dict)
        function = delta.get("custom") if custom else delta.get("function")
        if function is None:
            function = {}
        if not isinstance(function, dict):
            raise failures.unreadable("a tool call has no function object")
        name = function.get("name") or ""
        if not isinstance(name, str):
            raise failures.unreadable("a tool call has no readable name")
        field = "input" if custom else "arguments"
        text = arguments_text(function.get(field))
        given = given if isinstance(given, int) and not isinstance(given, bool) else None
        call = self._find(id or "", given, name, text)
        if call is None:
            return self._open(delta, id or "", given, name, text, "custom" if custom else "function")
        if id and not call.id:
            self._by_id[id] = call
        return self._continue(call, delta, id or "", name, text, "custom" if custom else "function")

    def _find(self, id: str, given: int | None, name: str, text: str) -> OpenCall | None:
        """Return the call that a delta continues; None if it starts a new one."""
        last = self.calls[-1] if self.calls else None
        if id:
            known = self._by_id.get(id)
            if known is not None and name and given not in (None, known.given):
                return None  # another call, to which the provider gave the same id
            if known is not None or last is None:
                return known
            at_index = self._at(given)
            # Some servers make up a new id for each piece of the arguments; others send it late.
            is_piece = at_index is not None and not name and (text or not at_index.id)
            return at_index if is_piece else None
        at_index = last if given is None else self._at(given)
        if at_index is None or not name or name == at_index.name:
            repeated = at_index is not None and name and text and _is_whole(at_index.arguments)
            return None if repeated else at_index
        return None if at_index.arguments or (given is None and not at_index.id) else at_index

    def _at(self, given: int | None) -> OpenCall | None:
        if given is None:
            return self.calls[-1] if self.calls else None
        return self._by_given.get(given)

    def _open(self, delta: JSON, id: str, given: int | None, name: str, text: str, kind: str) -> JSON:
        call = OpenCall(len(self.calls), given, "" if id in self._by_id else id, name, text)
        self.calls.append(call)
        self._by_given[given] = call
        if call.id:
            self._by_id[call.id] = call
        field = "input" if kind == "custom" else "arguments"
        body = {**(delta.get(kind) or {}), "name": name, field: text}
        call.opening = {
            **delta,
            "index": call.index,
            "id": call.id or new_id("call_"),
            "type": delta.get("type") or kind,
            kind: body,
        }
        return call.opening

    @staticmethod
    def _continue(call: OpenCall, delta: JSON, id: str, name: str, text: str, kind: str) -> JSON:
        call.arguments += text
        call.id = call.id or id
        if name and name != call.name:
            call.name += name
            if call.opening is not None:
                call.opening[kind]["name"] = call.name
        field = "input" if kind == "custom" else "arguments"
        kept = {key: value for key, value in delta.items() if key not in ("id", "type", kind) and value}
        return {**kept, "index": call.index, kind: {field: text}}

    def close(self) -> list[JSON]:
        """Return deltas with the arguments `{}` for the calls that got none.

        ProviderBroken if a call has no name.
        """
        if not all(call.name for call in self.calls):
            raise failures.unreadable("a tool call has no name")
        empty = [call for call in self.calls if not call.arguments.strip()]
        for call in empty:
            call.arguments = "{}"
        return [{"index": call.index, "function": {"arguments": "{}"}} for call in empty]


class FirstCalls:
    """Keeps the first call of each choice, of a completion or of its chunks in their order.

    An answer without its other calls reads as one with `parallel_tool_calls: false`: the model makes the
    calls that it still needs in its next turn.
    """

    def __init__(self) -> None:
        self._first: dict[Any, tuple[Any, Any]] = {}
        self._is_first: dict[Any, bool] = {}

    def keep_first(self, answer: JSON) -> None:
        """Remove the other calls from a completion or a chunk that litellm made."""
        for choice in answer.get("choices", ()):
            message = choice.get("message") or choice.get("delta") or {}
            calls = message.get("tool_calls")
            if calls:
                kept = [call for call in calls if self._belongs(choice.get("index"), call)]
                if kept:
                    message["tool_calls"] = kept
                else:
                    del message["tool_calls"]

    def _belongs(self, choice: Any, call: JSON) -> bool:
        if call.get("id"):  # the deltas that follow have none
            key = (call["id"], call.get("index"))
            self._is_first[choice] = self._first.setdefault(choice, key) == key
        return self._is_first.get(choice, True)


def arguments_text(value: Any) -> str:
    """Return arguments as text: an object is encoded, None is empty; ProviderBroken for anything else."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, dict | list):
        return orjson.dumps(value).decode()
    raise failures.unreadable("the arguments of a tool call are not text")


def _is_whole(arguments: str) -> bool:
    try:
        orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return False
    return True
