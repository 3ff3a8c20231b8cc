"""Calls and their outputs, and whether a context has all of them."""

from collections import defaultdict, deque

from inference.responses.items import CALL_TYPES, OUTPUT_TYPES, ItemRefused
from persistence.types import JSON


def call_key(item: JSON) -> str | None:
    """Return what a call and its output have in common; None for a call that its server answers."""
    if item["type"].startswith("tool_search_") and item.get("execution") == "server":
        return None
    key: str | None = item.get("call_id") or item["id"]
    return key


def pair_outputs(items: list[JSON]) -> tuple[dict[int, int], list[int]]:
    """Return the index of each call's output by the call's index, and the indexes of outputs without a call.

    An output belongs to the oldest call before it that has its `call_id` and no output yet. Its type does not
    matter: clients answer a local_shell_call by a function_call_output.
    """
    waiting: dict[str | None, deque[int]] = defaultdict(deque)
    pairs: dict[int, int] = {}
    orphans: list[int] = []
    for index, item in enumerate(items):
        type = item["type"]
        if type in OUTPUT_TYPES:
            waiting[call_key(item)].append(index)
        elif type in CALL_TYPES:
            calls = waiting[call_key(item)]
            if calls:
                pairs[calls.popleft()] = index
            else:
                orphans.append(index)
    return pairs, orphans


def check_pairs(items: list[JSON], first_new: int) -> None:
    """Refuse a context with a call that has no output, or with an output or an id that is wrong.

    `items` are the whole context; those from `first_new` on came with the request. ItemRefused.
    """
    seen: set[str] = set()
    for index, item in enumerate(items):
        if index >= first_new and item.get("id") in seen:
            raise duplicate(item["id"])
        seen.add(item.get("id", ""))
    pairs, orphans = pair_outputs(items)
    for index in orphans:
        if index >= first_new and (key := call_key(items[index])) is not None:
            what = _words(CALL_TYPES[items[index]["type"]])
            raise ItemRefused(f"No tool call found for {what} output with call_id {key}.")
    for index, item in enumerate(items):
        if item["type"] in OUTPUT_TYPES and index not in pairs and call_key(item) is not None:
            raise ItemRefused(f"No tool output found for {_words(item['type'])} {call_key(item)}.")


def duplicate(id: str) -> ItemRefused:
    """Return the error of an item whose id another one has."""
    advice = "Remove duplicate items from your input and try again."
    return ItemRefused(f"Duplicate item found with id {id}. {advice}")


def _words(type: str) -> str:
    return type.replace("_", " ")
