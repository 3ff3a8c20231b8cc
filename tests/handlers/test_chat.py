import base64
import json

import httpx
import pytest

from persistence.types import JSON
from tests.fixtures.clients import OPERATORS_KEY
from tests.handlers.chat import Ask, created, error_of, events
from tests.provider import ProviderProcess

pytestmark = pytest.mark.server


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


PDF = b"%PDF-1.4 a picture of a text"


def with_file(request: JSON, id: str) -> JSON:
    text = {"type": "text", "text": request["messages"][0]["content"]}
    parts = [text, {"type": "file", "file": {"file_id": id}}]
    return {**request, "messages": [{"role": "user", "content": parts}]}


def uploaded(http: httpx.Client, name: str, content: bytes) -> str:
    answer = http.post("files", files={"file": (name, content)}, data={"purpose": "user_data"})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


@pytest.mark.parametrize("fields", [{}, {"store": True}, {"stream": True}])
def test_the_provider_gets_the_content_of_an_uploaded_file(
    http: httpx.Client, ask: Ask, provider: ProviderProcess, tag: str, fields: JSON
) -> None:
    request = with_file(ask({"text": "x"}, **fields), uploaded(http, "a.pdf", PDF))
    assert http.post("chat/completions", json=request).status_code == 200
    _, part = provider.received(tag)[0]["body"]["messages"][0]["content"]
    data = f"data:application/pdf;base64,{base64.b64encode(PDF).decode()}"
    assert part == {"type": "file", "file": {"file_data": data, "filename": "a.pdf"}}


def test_an_uploaded_text_reaches_the_model_as_a_text(
    http: httpx.Client, ask: Ask, provider: ProviderProcess, tag: str
) -> None:
    created(http, with_file(ask({"text": "x"}), uploaded(http, "a.txt", b"Some words.")))
    _, part = provider.received(tag)[0]["body"]["messages"][0]["content"]
    assert part == {"type": "text", "text": "[File a.txt]\nSome words."}


def test_a_file_that_was_not_uploaded_here_is_404(
    http: httpx.Client, ask: Ask, provider: ProviderProcess, tag: str
) -> None:
    status, error = error_of(http.post("chat/completions", json=with_file(ask({"text": "x"}), "file-none")))
    assert (status, error["param"]) == (404, "messages[0].content[1].file.file_id")
    assert provider.received(tag) == []


def test_more_files_than_a_request_may_have_are_refused(http: httpx.Client, ask: Ask) -> None:
    request = with_file(ask({"text": "x"}), uploaded(http, "a.pdf", PDF + bytes(25 * 1024 * 1024)))
    status, error = error_of(http.post("chat/completions", json=request))
    assert (status, error["code"]) == (400, "file_too_large")
