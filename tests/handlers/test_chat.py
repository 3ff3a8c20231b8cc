import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from persistence.types import JSON
from tests.fixtures.clients import OPERATORS_KEY
from tests.provider import ProviderProcess

pytestmark = pytest.mark.server


@pytest.fixture
def ask(tag: str) -> Callable[..., JSON]:
    """A chat request whose answer is the given turn."""

    def request(turn: JSON, **fields: Any) -> JSON:
        script = json.dumps({"tag": tag, "turns": [turn]})
        return {"model": "m", "messages": [{"role": "user", "content": f"script: {script}"}], **fields}

    return request


Ask = Callable[..., JSON]


def created(http: httpx.Client, request: JSON) -> JSON:
    answer = http.post("chat/completions", json=request)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def error_of(answer: httpx.Response) -> tuple[int, JSON]:
    return answer.status_code, answer.json()["error"]


def events(http: httpx.Client, request: JSON) -> list[str]:
    with http.stream("POST", "chat/completions", json={**request, "stream": True}) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        return [line.removeprefix("data: ") for line in answer.iter_lines() if line.startswith("data: ")]


def test_a_completion_has_every_field_that_openais_have(http: httpx.Client, ask: Ask) -> None:
    completion = created(http, ask({"text": "Hello."}))
    assert completion["object"] == "chat.completion"
    assert completion["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Hello.", "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ]
    assert completion["usage"]["total_tokens"] > 0


def test_a_stream_is_relayed_unchanged(http: httpx.Client, ask: Ask) -> None:
    *chunks, done = events(http, ask({"text": "one two"}, stream_options={"include_usage": True}))
    assert done == "[DONE]"
    parsed = [json.loads(chunk) for chunk in chunks]
    assert parsed[-1]["choices"] == []
    assert parsed[-1]["usage"]["completion_tokens"] == 2
    texts = [chunk["choices"][0]["delta"].get("content", "") for chunk in parsed[:-1]]
    assert "".join(texts) == "one two"


def test_an_unknown_model_is_404_in_the_providers_words(http: httpx.Client, ask: Ask) -> None:
    fail = {"status": 404, "message": "The model `m` does not exist", "code": "model_not_found"}
    fail["type"] = "invalid_request_error"
    status, error = error_of(http.post("chat/completions", json=ask({"fail": fail})))
    assert (status, error["code"], error["message"]) == (
        404,
        "model_not_found",
        "The model `m` does not exist",
    )


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("status", [400, 401, 403, 422, 429, 500, 503])
def test_a_providers_error_keeps_its_status_and_words(
    http: httpx.Client, ask: Ask, status: int, streamed: bool
) -> None:
    fail = {
        "status": status,
        "message": f"Odd {OPERATORS_KEY}",
        "type": "odd_error",
        "code": "odd",
        "retry_after": 99,
    }
    answer = http.post("chat/completions", json=ask({"fail": fail}, stream=streamed))
    assert error_of(answer) == (
        status,
        {"message": "Odd ***", "type": "odd_error", "param": None, "code": "odd"},
    )
    assert answer.headers["retry-after"] == "99"


def test_an_unreadable_answer_is_a_502(http: httpx.Client, ask: Ask) -> None:
    status, error = error_of(
        http.post("chat/completions", json=ask({"fail": {"status": 200, "body": "<html>"}}))
    )
    assert (status, error["type"]) == (502, "server_error")


def test_after_the_first_byte_an_error_is_an_event(http: httpx.Client, ask: Ask) -> None:
    *_, last = events(http, ask({"text": "a b c", "close_after": 2, "delay": 0.01}))
    assert json.loads(last)["error"]["type"] == "server_error"


@pytest.mark.parametrize("name", ["api-key", "LLM-PARAM-api-key", "LLM-PARAM-base-url", "LLM-PARAM-api-base"])
def test_callers_provider_headers_are_ignored_unless_a_setting_allows_them(
    http: httpx.Client, ask: Ask, provider: ProviderProcess, tag: str, name: str
) -> None:
    answer = http.post("chat/completions", json=ask({"text": "x"}), headers={name: "http://127.0.0.1:1"})
    assert answer.status_code == 200
    assert provider.received(tag)[0]["headers"]["authorization"] == f"Bearer {OPERATORS_KEY}"


# --- stored completions ---


def stored(http: httpx.Client, ask: Ask, **fields: Any) -> JSON:
    return created(http, ask({"text": "Kept."}, store=True, **fields))


def test_nothing_is_stored_without_store(http: httpx.Client, ask: Ask) -> None:
    completion = created(http, ask({"text": "x"}))
    status, error = error_of(http.get(f"chat/completions/{completion['id']}"))
    assert (status, error) == (
        404,
        {
            "message": f"Completion {completion['id']} not found",
            "type": "invalid_request_error",
            "param": "completion_id",
            "code": "not_found",
        },
    )


def test_a_stored_completion_is_the_one_that_was_returned(
    http: httpx.Client, ask: Ask, provider: ProviderProcess, tag: str
) -> None:
    completion = stored(http, ask, metadata={"a": "b"}, temperature=0.5, user="u")
    kept = http.get(f"chat/completions/{completion['id']}").json()
    assert completion.items() <= kept.items()
    assert (kept["metadata"], kept["temperature"], kept["input_user"]) == ({"a": "b"}, 0.5, "u")
    assert provider.received(tag)[0]["body"].keys().isdisjoint({"store", "metadata"})


@pytest.mark.parametrize("with_usage", [False, True])
def test_a_streamed_completion_is_stored_as_it_was_streamed(
    http: httpx.Client, ask: Ask, with_usage: bool
) -> None:
    fields = {"stream_options": {"include_usage": True}} if with_usage else {}
    turn = {"text": "one two", "calls": [{"name": "f", "arguments": {"x": "y" * 30}}]}
    *chunks, done = events(http, ask(turn, store=True, **fields))
    parsed = [json.loads(chunk) for chunk in chunks]
    assert done == "[DONE]"
    assert any(chunk.get("usage") for chunk in parsed) is with_usage
    (id,) = {chunk["id"] for chunk in parsed}
    kept = http.get(f"chat/completions/{id}").json()
    message = kept["choices"][0]["message"]
    assert message["content"] == "one two"
    assert json.loads(message["tool_calls"][0]["function"]["arguments"]) == {"x": "y" * 30}
    assert kept["usage"]["completion_tokens"] == 3


def test_a_stream_that_breaks_is_not_stored(http: httpx.Client, ask: Ask) -> None:
    *chunks, last = events(http, ask({"text": "a b c", "close_after": 2, "delay": 0.01}, store=True))
    assert "error" in json.loads(last)
    assert http.get(f"chat/completions/{json.loads(chunks[0])['id']}").status_code == 404


def test_the_messages_of_a_stored_completion_are_those_of_its_request(http: httpx.Client, ask: Ask) -> None:
    request = ask({"text": "Kept."}, store=True)
    parts = [{"type": "text", "text": "again"}]
    request["messages"] = [{"role": "system", "content": "Be kind."}, *request["messages"]]
    request["messages"].append({"role": "user", "content": parts})
    id = created(http, request)["id"]
    path = f"chat/completions/{id}/messages"
    first, second, third = http.get(path).json()["data"]
    assert (first["role"], first["content"], first["content_parts"]) == ("system", "Be kind.", None)
    assert (third["content"], third["content_parts"]) == (None, parts)
    page = http.get(path, params={"limit": 1, "after": first["id"]}).json()
    assert (page["data"], page["has_more"]) == ([second], True)
    page = http.get(path, params={"order": "desc", "after": second["id"]}).json()
    assert (page["data"], page["has_more"]) == ([first], False)
    status, error = error_of(http.get(path, params={"after": "nothing"}))
    assert (status, error["param"]) == (400, "after")


def test_stored_completions_are_listed_by_model_and_metadata(http: httpx.Client, ask: Ask, tag: str) -> None:
    ids = []
    for n in range(4):
        metadata = {"tag": tag, "even": str(n % 2 == 0)}
        ids.append(stored(http, ask, model=f"{tag}-{n // 2}", metadata=metadata)["id"])

    def listed(**params: Any) -> tuple[list[str], bool]:
        answer = http.get("chat/completions", params=params).json()
        data = [item["id"] for item in answer["data"]]
        assert (answer["first_id"], answer["last_id"]) == ((data[0], data[-1]) if data else (None, None))
        return data, answer["has_more"]

    assert listed(**{"metadata[tag]": tag}) == (ids, False)
    assert listed(**{"metadata[tag]": tag, "order": "desc"}) == (ids[::-1], False)
    assert listed(**{"metadata[tag]": tag, "limit": 2}) == (ids[:2], True)
    assert listed(**{"metadata[tag]": tag, "limit": 2, "after": ids[1]}) == (ids[2:], False)
    assert listed(model=f"{tag}-1") == (ids[2:], False)
    assert listed(**{"metadata[tag]": tag, "metadata[even]": "True"}) == (ids[::2], False)
    assert listed(**{"metadata[tag]": tag, "metadata[even]": "True", "limit": 1}) == (ids[:1], True)
    assert listed(**{"metadata[tag]": tag, "metadata[even]": "True", "after": ids[0]}) == (ids[2:3], False)
    assert listed(model=f"{tag}-0", **{"metadata[even]": "False", "metadata[tag]": tag}) == (ids[1:2], False)
    assert listed(model="nothing") == ([], False)


def test_lists_follow_changes_of_metadata(http: httpx.Client, ask: Ask, tag: str) -> None:
    id = stored(http, ask, metadata={"tag": tag})["id"]
    changed = http.post(f"chat/completions/{id}", json={"metadata": {"tag": f"{tag}-2"}})
    assert changed.json()["metadata"] == {"tag": f"{tag}-2"}
    assert http.get("chat/completions", params={"metadata[tag]": tag}).json()["data"] == []
    assert len(http.get("chat/completions", params={"metadata[tag]": f"{tag}-2"}).json()["data"]) == 1


@pytest.mark.parametrize("metadata", [{"k": "v" * 513}, {"k" * 65: "v"}, {str(n): "v" for n in range(17)}])
def test_metadata_over_its_limits_is_refused_before_a_model_is_asked(
    http: httpx.Client, ask: Ask, provider: ProviderProcess, tag: str, metadata: JSON
) -> None:
    status, error = error_of(
        http.post("chat/completions", json=ask({"text": "x"}, store=True, metadata=metadata))
    )
    assert (status, error["param"].partition(".")[0]) == (400, "metadata")
    assert provider.received(tag) == []


def test_a_deleted_completion_is_gone(http: httpx.Client, ask: Ask) -> None:
    id = stored(http, ask)["id"]
    assert http.delete(f"chat/completions/{id}").json() == {
        "object": "chat.completion.deleted",
        "id": id,
        "deleted": True,
    }
    requests = [http.get(f"chat/completions/{id}"), http.delete(f"chat/completions/{id}")]
    requests += [http.get(f"chat/completions/{id}/messages")]
    requests += [http.post(f"chat/completions/{id}", json={"metadata": {}})]
    assert [answer.status_code for answer in requests] == [404] * 4


# --- what else is relayed ---


def test_legacy_completions_are_relayed(http: httpx.Client) -> None:
    answer = http.post("completions", json={"model": "m", "prompt": "Once"})
    assert answer.status_code == 200, answer.text
    assert answer.json()["choices"][0]["logprobs"] is None


def test_moderations_are_relayed_to_the_default_model(http: httpx.Client) -> None:
    answer = http.post("moderations", json={"input": "some violence"}).json()
    assert answer["model"] == "omni-moderation-latest"
    assert answer["results"][0]["flagged"] is True


@pytest.mark.parametrize(
    ("path", "request_body"),
    [
        ("chat/completions", {"messages": [{"role": "user", "content": "@"}]}),
        ("completions", {"prompt": "@"}),
        ("embeddings", {"input": "@"}),
        ("moderations", {"input": "@"}),
    ],
)
@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ('{"error": {"message": "Slow down", "code": 429}}', 429, "Slow down"),
        ('{"error": "It is full", "code": 429}', 429, "It is full"),
        (
            '{"object": "error", "message": "Too long", "type": "BadRequestError", "code": 400}',
            400,
            "Too long",
        ),
    ],
)
def test_a_200_with_an_error_in_it_is_that_error_on_every_endpoint(
    http: httpx.Client, path: str, request_body: JSON, body: str, status: int, words: str
) -> None:
    script = json.dumps({"turns": [{"raw": body, "content_type": "application/json"}]})
    filled = json.loads(json.dumps(request_body).replace("@", json.dumps(f"script: {script}")[1:-1]))
    answer = http.post(path, json={"model": "m", **filled}, headers={"x-stainless-retry-count": "0"})
    assert error_of(answer)[0] == status, answer.text
    assert error_of(answer)[1]["message"] == words


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (400, '[{"error": {"message": "In a list", "code": 400}}]', "In a list"),
        (400, "Plain words\n", "Plain words"),
        (404, "Not Found", "The provider 'provider' answered POST /chat/completions with 404 Not Found."),
        (
            404,
            '{"detail": "Not Found"}',
            "The provider 'provider' answered POST /chat/completions with 404 Not Found.",
        ),
        (
            404,
            "404 page not found\n",
            "The provider 'provider' answered POST /chat/completions with 404 Not Found.",
        ),
        (
            403,
            "<html>x</html>",
            "The provider 'provider' answered POST /chat/completions with 403 Forbidden.",
        ),
        (503, "", "The provider 'provider' answered POST /chat/completions with 503 Service Unavailable."),
    ],
)
def test_a_providers_error_keeps_its_words_or_names_the_request(
    http: httpx.Client, ask: Ask, status: int, body: str, message: str, streamed: bool
) -> None:
    fail = {"status": status, "body": body, "retry_after": 99}
    answer = http.post("chat/completions", json=ask({"fail": fail}, stream=streamed))
    assert (answer.status_code, answer.json()["error"]["message"]) == (status, message)


@pytest.mark.parametrize("wait", ["inf", "nan", "soon", "-5", "1e999"])
def test_a_senseless_retry_after_is_no_500(http: httpx.Client, ask: Ask, wait: str) -> None:
    fail = {"status": 429, "message": "Slow down", "retry_after": wait, "times": 9}
    answer = http.post("chat/completions", json=ask({"fail": fail}))
    assert error_of(answer)[0] == 429


def test_a_responses_message_can_be_sent_back(
    http: httpx.Client, ask: Ask, provider: ProviderProcess, tag: str
) -> None:
    request = ask({"text": "Yes."}, top_k=5, tool_choice=None)
    call = {
        "id": "c1",
        "type": "function",
        "index": 0,
        "function": {"name": "f", "arguments": "{}", "parsed_arguments": {}},
    }
    request["messages"] += [
        {"role": "assistant", "content": None, "name": None, "refusal": None, "annotations": None, "audio": None,
         "function_call": None, "parsed": {"a": 1}, "reasoning_content": "hm", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "name": "f", "content": [{"type": "text", "text": "x", "extra": 1}]},
    ]  # fmt: skip
    answer = http.post("chat/completions", json=request)
    assert answer.status_code == 200, answer.text
    body = provider.received(tag)[0]["body"]
    assert body["top_k"] == 5
    assert "tool_choice" not in body
    assistant, tool = body["messages"][1:]
    assert assistant == {
        "role": "assistant", "content": None, "parsed": {"a": 1}, "reasoning_content": "hm", "tool_calls": [call],
    }  # fmt: skip
    assert tool["content"] == [{"type": "text", "text": "x", "extra": 1}]
