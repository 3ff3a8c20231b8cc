"""Put messages into the form in which litellm makes a provider's messages of them."""

import re
from collections.abc import Iterable
from contextlib import suppress
from hashlib import blake2b
from itertools import count
from typing import Any

from inference.gateway.answers import thinking, tolerant_json
from persistence.types import JSON

GOOGLES = frozenset({"gemini", "vertex_ai", "vertex_ai_beta"})

MISTRALS_ID = re.compile("[A-Za-z0-9]{9}")


def for_provider(provider: str, messages: list[JSON]) -> list[JSON]:
    """Return the messages for one of litellm's providers; the given ones are not changed."""
    made = [_message(message) for message in messages]
    if provider in GOOGLES:
        return _with_distinct_calls(made)
    return [_with_short_ids(message) for message in made] if provider == "mistral" else made


def _message(message: JSON) -> JSON:
    """Return a message as litellm takes it back, however a client has put it together.

    What litellm changes in its messages is a copy: another deployment may get the given ones.
    """
    message = {name: _copied(value) for name, value in message.items()}
    blocks, calls = message.get("thinking_blocks"), message.get("tool_calls")
    if thinking.are_blocks(blocks):
        message = {**message, "thinking_blocks": thinking.joined(blocks)}
    if calls:
        message = {**message, "tool_calls": [_call(call) for call in calls]}
    return message


def _copied(value: Any) -> Any:
    """Return a copy of a value, of its members, and of theirs."""
    if isinstance(value, list):
        return [_copied(one) for one in value]
    if isinstance(value, dict):
        return {name: dict(one) if isinstance(one, dict) else one for name, one in value.items()}
    return value


def _call(call: JSON) -> JSON:
    """Return a call with Gemini's signature where litellm looks for it, not where OpenAI's API has it."""
    match call:
        case {"extra_content": {"google": {"thought_signature": str(signature)}}}:
            return {"provider_specific_fields": {"thought_signature": signature}, **call}
        case _:
            return call


def _with_short_ids(message: JSON) -> JSON:
    """Return a message whose calls have ids as Mistral takes them, from whatever model they came."""
    if message.get("tool_call_id"):
        message = {**message, "tool_call_id": _short_id(message["tool_call_id"])}
    if message.get("tool_calls"):
        calls = [{**call, "id": _short_id(call["id"])} for call in message["tool_calls"]]
        message = {**message, "tool_calls": calls}
    return message


def _short_id(id: str) -> str:
    return id if MISTRALS_ID.fullmatch(id) else blake2b(id.encode(), digest_size=5).hexdigest()[:9]


def _with_distinct_calls(messages: list[JSON]) -> list[JSON]:
    """Return messages none of which has a call twice: litellm leaves out the second one, not its output.

    Calls that are equal become turns of their own, each with its outputs.
    """
    made: list[JSON] = []
    rounds: list[list[JSON]] = []
    for message in messages:
        if message.get("role") == "tool" and rounds:
            ids = ({call["id"] for call in each[0]["tool_calls"]} for each in rounds)
            at = next((place for place, known in enumerate(ids) if message.get("tool_call_id") in known), 0)
            rounds[at].append(message)
            continue
        made += [each for outputs in rounds for each in outputs]
        groups = _distinct(message.get("tool_calls") or ())
        rounds = [[{"role": "assistant", "content": None, "tool_calls": group}] for group in groups]
        if rounds:
            rounds[0][0] = {**message, "tool_calls": groups[0]}
        else:
            made.append(message)
    return made + [each for outputs in rounds for each in outputs]


def _distinct(calls: Iterable[JSON]) -> list[list[JSON]]:
    """Return calls in groups without equal ones."""
    groups: list[list[JSON]] = []
    seen: dict[str, count[int]] = {}
    for call in calls:
        at = next(seen.setdefault(_described(call), count()))
        groups += [[]] * (at == len(groups))
        groups[at] = [*groups[at], call]
    return groups


def _described(call: JSON) -> str:
    """Return the name and the arguments of a call, however the arguments are written."""
    function = call.get("function") or {}
    arguments = function.get("arguments") or "{}"
    with suppress(ValueError):
        arguments = tolerant_json.loads(arguments.encode())
    return repr((function.get("name"), arguments))
