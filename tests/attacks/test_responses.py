"""Responses and conversations with the largest inputs there can be."""

import asyncio
import time
from typing import Any

import httpx
import pytest

from handlers.response_requests import MAX_REPEATED, MAX_TOOLS
from inference.responses.items import MAX_ARGUMENTS, stored_items_in_slices
from tests.attacks.reads import reads_meanwhile
from tests.server import Server

pytestmark = pytest.mark.server

ITEM = {"role": "user", "content": "x"}


def function(name: str) -> dict[str, Any]:
    return {"type": "function", "name": name, "parameters": {}, "strict": False}


@pytest.mark.parametrize("path", ["/responses", "/responses/input_tokens", "/responses/compact"])
def test_40000_items_stop_nobody(server: Server, http: httpx.Client, path: str) -> None:
    with reads_meanwhile(server) as reads:
        answer = http.post(path, json={"model": "m", "input": [ITEM] * 40_000}, timeout=120)
    assert answer.status_code == 200, answer.text[:500]
    assert max(reads) < 1


def test_other_requests_have_their_turn_while_items_are_checked() -> None:
    async def turns_meanwhile() -> int:
        turns = 0

        async def count_turns() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        counting = asyncio.create_task(count_turns())
        await stored_items_in_slices([ITEM] * 30_000, lambda prefix: f"{prefix}1")
        counting.cancel()
        return turns

    assert asyncio.run(turns_meanwhile()) > 3


@pytest.mark.parametrize(
    "tools",
    [
        [function(f"f{n}") for n in range(MAX_TOOLS + 1)],
        [
            {
                "type": "namespace",
                "name": "n",
                "description": "d",
                "tools": [function(f"f{n}") for n in range(MAX_TOOLS)],
            }
        ],
    ],
    ids=["functions", "namespace"],
)
def test_the_tools_of_a_response_are_bounded(http: httpx.Client, tools: list[dict[str, Any]]) -> None:
    answer = http.post("/responses", json={"model": "m", "input": "x", "tools": tools})
    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["code"]) == (400, "tools", "array_above_max_length")


@pytest.mark.parametrize("field", ["instructions", "prompt_cache_key", "previous_response_id"])
def test_what_the_events_of_a_response_repeat_is_bounded(http: httpx.Client, field: str) -> None:
    answer = http.post("/responses", json={"model": "m", "input": "x", field: "x" * (MAX_REPEATED + 1)})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "object_too_large")


@pytest.mark.parametrize(("path", "field"), [("/responses", "input"), ("/conversations", "items")])
def test_the_arguments_of_a_call_are_bounded(http: httpx.Client, path: str, field: str) -> None:
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "x" * (MAX_ARGUMENTS + 1)}
    answer = http.post(path, json={"model": "m"} | {field: [call]} if field == "input" else {field: [call]})
    error = answer.json()["error"]
    expected = (400, f"{field}[0].arguments", "string_above_max_length")
    assert (answer.status_code, error["param"], error["code"]) == expected


def test_an_image_above_its_limit_is_refused_at_once(http: httpx.Client) -> None:
    image = "data:image/png;base64," + "iVBORw0K" * (20 * 1024 * 1024 // 8)
    part = {"type": "input_image", "image_url": image, "detail": "auto"}
    began = time.monotonic()
    answer = http.post("/responses", json={"model": "m", "input": [{"role": "user", "content": [part]}]})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (400, "string_above_max_length")
    assert error["param"] == "input[0].content[0].image_url"
    assert f"maximum length 20971520, but got a string with length {len(image)}" in error["message"]
    assert time.monotonic() - began < 5
