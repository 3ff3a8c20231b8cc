"""The WebSocket mode of the Responses API through OpenAI's SDK, against a live server of two workers."""

import json
import secrets
from typing import Any

import httpx
import pytest
from openai import OpenAI
from openai.resources.responses.responses import ResponsesConnection
from openai.types.responses import Response, ResponseOutputMessage, ResponseOutputText

from tests.provider import ProviderProcess
from tests.server import Server, until

pytestmark = [
    pytest.mark.server,
    pytest.mark.filterwarnings(
        "ignore:connect.. must be used as a context manager:DeprecationWarning"
    ),  # the SDK's
]


@pytest.fixture
def client(server: Server) -> OpenAI:
    return OpenAI(base_url=server.url, api_key="any")


def script(*turns: dict, tag: str = "") -> str:
    return "script: " + json.dumps({"tag": tag or secrets.token_hex(8), "turns": turns})


def response_of(connection: ResponsesConnection, **fields: Any) -> Response:
    """The response that the fields ask for, at its end."""
    connection.response.create(model="m", **fields)
    for event in connection:
        assert event.type != "error", event
        if event.type == "response.completed":
            return event.response
    raise AssertionError("the connection has ended")


def text_of(response: Response) -> str:
    [message] = response.output
    assert isinstance(message, ResponseOutputMessage)
    [part] = message.content
    assert isinstance(part, ResponseOutputText)
    return part.text


def test_a_chain_that_is_not_stored_lives_on_its_connection(client: OpenAI, server: Server) -> None:
    turns = [{"text": word} for word in ("one", "two", "three")]
    with client.responses.connect() as connection:
        response = response_of(connection, input=script(*turns), store=False)
        texts = [text_of(response)]
        for _ in range(2):
            previous = response.id
            response = response_of(connection, input="and?", store=False, previous_response_id=previous)
            texts.append(text_of(response))
    assert texts == ["one", "two", "three"]
    assert httpx.get(f"{server.url}/responses/{response.id}").status_code == 404


@pytest.mark.parametrize("store", [False, True])
def test_a_warm_up_asks_no_model_and_can_be_continued(
    client: OpenAI, provider: ProviderProcess, tag: str, store: bool
) -> None:
    with client.responses.connect() as connection:
        fields = {"type": "response.create", "model": "m", "generate": False, "store": store}
        content = script({"text": "warm"}, tag=tag)
        connection.send_raw(json.dumps({**fields, "input": [{"role": "developer", "content": content}]}))
        events = []
        while not events or events[-1].type != "response.completed":
            events.append(connection.recv())
        assert [event.type for event in events] == [
            "response.created",
            "response.in_progress",
            "response.completed",
        ]
        warm = events[-1].response
        assert (warm.status, warm.output) == ("completed", [])
        assert provider.received(tag) == []
        turn = response_of(connection, input="go", store=store, previous_response_id=warm.id)
        assert text_of(turn) == "warm"
    [asked] = provider.received(tag)
    assert [message["role"] for message in asked["body"]["messages"]] == ["system", "user"]


def test_a_warm_up_may_have_no_input(client: OpenAI) -> None:
    with client.responses.connect() as connection:
        fields = {"type": "response.create", "model": "m", "generate": False, "store": False, "input": []}
        connection.send_raw(json.dumps(fields))
        events = [connection.recv() for _ in range(3)]
        warm = events[-1].response
        turn = response_of(
            connection, input=script({"text": "on"}), store=False, previous_response_id=warm.id
        )
        assert text_of(turn) == "on"


def test_a_stored_response_is_whole_when_its_last_event_arrives(client: OpenAI, server: Server) -> None:
    with client.responses.connect() as connection:
        for _ in range(20):
            response = response_of(connection, input=script({"text": "a b c"}))
            read = httpx.get(f"{server.url}/responses/{response.id}", headers={"Connection": "close"})
            assert read.json()["output"] == response.to_dict()["output"]
        follower = response_of(connection, input="and?", previous_response_id=response.id)
    assert follower.previous_response_id == response.id


def test_a_client_that_disconnects_ends_its_providers_call(
    client: OpenAI, server: Server, provider: ProviderProcess, tag: str
) -> None:
    with client.responses.connect() as connection:
        turn = {"text": "word " * 1000, "delay": 0.05}
        connection.response.create(model="m", input=script(turn, tag=tag))
        response_id = next(event.response.id for event in connection if event.type == "response.created")
        for event in connection:
            if event.type == "response.output_text.delta":
                break
    until(lambda: provider.received(tag)[0]["ended"] == "disconnected", seconds=10)
    url = f"{server.url}/responses/{response_id}"
    until(lambda: httpx.get(url).json()["status"] == "cancelled", seconds=10)


def test_a_large_input_passes_in_one_message(client: OpenAI) -> None:
    large = [{"role": "user", "content": "x" * 200_000} for _ in range(20)]
    small = [{"role": "user", "content": str(number)} for number in range(2500)]
    options = {"max_size": None, "compression": "deflate"}
    with client.responses.connect(websocket_connection_options=options) as connection:
        for items in (large, small):
            asked = [*items, {"role": "user", "content": script({"text": "read"})}]
            assert text_of(response_of(connection, input=asked, store=False)) == "read"
