"""Moderation of a response: scores of its input and output, by the model that it names."""

import json
from typing import Any

import pytest

from handlers.errors import BadRequest
from inference.engine.items import Call, GrowingText, Message, Turn
from inference.errors import ProviderRejected
from inference.gateway import Gateway
from inference.responses.moderation import moderated
from persistence.store import Store
from persistence.types import JSON
from tests.fixtures.refusals import refused
from tests.inference.engine.process import script
from tests.inference.responses.worker import parsed, worker

ASKED = {"model": "omni-moderation-latest", "policy": {"input": {"mode": "score"}}}


class Moderator(Gateway):
    """Flags what has the word `bad`, and fails where it is asked to."""

    def __init__(self) -> None:
        self.asked: list[JSON] = []

    async def moderate(self, request: JSON, credentials: Any = None) -> JSON:
        self.asked.append(request)
        text = json.dumps(request["input"])
        if "fail" in text:
            raise ProviderRejected.invalid("No.", "input", "too_odd")
        flagged = "bad" in text
        scores = {"violence": 0.9 if flagged else None}
        result = {"flagged": flagged, "categories": {"violence": flagged}, "category_scores": scores}
        return {"model": "omni", "results": [result]}


def user(*parts: JSON) -> JSON:
    return {"type": "message", "role": "user", "content": list(parts)}


async def test_input_and_output_have_results_of_their_own() -> None:
    gateway = Moderator()
    said = Turn(
        "turn_1", [Message("msg_1", GrowingText("A bad idea.")), Call("fc_1", "function_call", "c", "f")]
    )
    found = await moderated(gateway, "m", [user({"type": "input_text", "text": "Hello."})], [said], None)
    assert [request["input"] for request in gateway.asked] == ["Hello.", "A bad idea."]
    assert found["output"] == {
        "type": "moderation_result",
        "model": "omni",
        "flagged": True,
        "categories": {"violence": True},
        "category_scores": {"violence": 0.9},
        "category_applied_input_types": {"violence": ["text"]},
    }
    assert (found["input"]["flagged"], found["input"]["category_scores"]) == (False, {"violence": 0.0})


async def test_images_are_moderated_with_the_text() -> None:
    gateway = Moderator()
    parts = (
        {"type": "input_text", "text": "Look."},
        {"type": "input_image", "image_url": "https://a.example/x"},
    )
    await moderated(gateway, "m", [user(*parts)], [], None)
    assert gateway.asked == [
        {
            "model": "m",
            "input": [
                {"type": "text", "text": "Look."},
                {"type": "image_url", "image_url": {"url": "https://a.example/x"}},
            ],
        }
    ]


async def test_a_failure_is_a_result() -> None:
    found = await moderated(Moderator(), "m", [user({"type": "input_text", "text": "fail"})], [], None)
    assert found["input"] == {"type": "error", "code": "too_odd", "message": "No."}
    assert found["output"]["type"] == "error"


@pytest.mark.parametrize("store_it", [True, False])
async def test_a_response_ends_with_its_moderation(store: Store, gateway: Gateway, store_it: bool) -> None:
    async with worker(store, gateway) as one:
        response = await one.create(script({"text": "Aye."}), moderation=ASKED, store=store_it)
        assert {each["type"] for each in response["moderation"].values()} == {"moderation_result"}
        if store_it:
            stored = await one.get(response["id"])
            assert stored["moderation"] == response["moderation"]
            await one.check_log(stored, [])
        stream = await one.stream(script({"text": "Aye."}), moderation=ASKED, store=store_it)
        events = parsed(b"".join([piece async for piece in stream]))
        assert events[-1]["response"]["moderation"] == response["moderation"]
        assert (await one.create("Hello."))["moderation"] is None


async def test_what_this_server_cannot_do_is_refused_by_name(store: Store, gateway: Gateway) -> None:
    async with worker(store, gateway) as one:
        blocks = {**ASKED, "policy": {"output": {"mode": "block"}}}
        error = await refused(one.create("Hello.", moderation=blocks), BadRequest)
        assert (error.param, error.code) == ("moderation.policy.output.mode", "unsupported_value")
