import json
from typing import Any

import httpx
import pytest

from persistence.types import JSON
from tests.handlers.chat import Ask, created, error_of, events
from tests.provider import ProviderProcess

pytestmark = pytest.mark.server


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
