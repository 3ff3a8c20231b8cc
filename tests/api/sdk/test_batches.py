import json
import time

import openai
import pytest
from conftest import MODEL, script
from openai import OpenAI

CHAT = "/v1/chat/completions"
BODIES = {
    CHAT: {"model": MODEL, "messages": [{"role": "user", "content": "Hello there"}]},
    "/v1/completions": {"model": MODEL, "prompt": "Hello there"},
    "/v1/embeddings": {"model": MODEL, "input": "Hello there"},
    "/v1/moderations": {"model": "omni-moderation-latest", "input": "Hello there"},
    "/v1/responses": {"model": MODEL, "input": "Hello there"},
}
OBJECTS = {
    CHAT: "chat.completion",
    "/v1/completions": "text_completion",
    "/v1/embeddings": "list",
    "/v1/responses": "response",
}
ENDED = ("completed", "failed", "expired", "cancelled")


def uploaded(client: OpenAI, *bodies: dict, url: str = CHAT) -> str:
    lines = [
        json.dumps({"custom_id": f"r{number}", "method": "POST", "url": url, "body": body})
        for number, body in enumerate(bodies)
    ]
    return client.files.create(file=("in.jsonl", "\n".join(lines).encode()), purpose="batch").id


def ended(client: OpenAI, id: str, seconds: float = 30) -> openai.types.Batch:
    deadline = time.monotonic() + seconds
    while (batch := client.batches.retrieve(id)).status not in ENDED:
        assert time.monotonic() < deadline, batch
        time.sleep(0.05)
    return batch


def lines_of(client: OpenAI, file: str | None) -> list[dict]:
    assert file is not None
    return [json.loads(line) for line in client.files.content(file).text.splitlines()]


@pytest.mark.parametrize("endpoint", BODIES)
def test_each_endpoint_answers_the_lines_of_a_batch(client: OpenAI, endpoint: str) -> None:
    file = uploaded(client, *[BODIES[endpoint]] * 5, url=endpoint)
    created = client.batches.create(
        input_file_id=file,
        endpoint=endpoint,  # type: ignore[arg-type]
        completion_window="24h",
        metadata={"of": "tests"},
    )
    assert (created.object, created.status, created.endpoint) == ("batch", "validating", endpoint)
    assert created.expires_at == created.created_at + 24 * 3600
    batch = ended(client, created.id)
    assert batch.status == "completed", batch
    assert batch.metadata == {"of": "tests"}
    counts = batch.request_counts
    assert counts is not None
    assert (counts.total, counts.completed, counts.failed) == (5, 5, 0)
    assert batch.error_file_id is None
    lines = lines_of(client, batch.output_file_id)
    assert sorted(line["custom_id"] for line in lines) == [f"r{number}" for number in range(5)]
    assert {line["response"]["status_code"] for line in lines} == {200}
    for line in lines:
        assert line["response"]["body"].get("object") == OBJECTS.get(endpoint)
    assert client.files.retrieve(str(batch.output_file_id)).purpose == "batch_output"


def test_a_batch_with_a_line_that_fails_has_two_files(client: OpenAI) -> None:
    wrong = script({"fail": {"status": 400, "message": "No."}})
    bodies = [BODIES[CHAT], {"model": MODEL, "messages": [{"role": "user", "content": wrong}]}]
    file = uploaded(client, *bodies)
    batch = client.batches.create(input_file_id=file, endpoint=CHAT, completion_window="24h")
    batch = ended(client, batch.id)
    (output,), (error,) = lines_of(client, batch.output_file_id), lines_of(client, batch.error_file_id)
    assert (output["custom_id"], error["custom_id"]) == ("r0", "r1")
    assert error["response"]["status_code"] == 400
    assert error["response"]["body"]["error"]["message"] == "No."


def test_a_batch_whose_file_is_wrong_fails_with_the_line(client: OpenAI) -> None:
    file = client.files.create(file=("in.jsonl", b"nonsense\n"), purpose="batch").id
    batch = client.batches.create(input_file_id=file, endpoint=CHAT, completion_window="24h")
    batch = ended(client, batch.id)
    assert batch.status == "failed"
    assert batch.errors is not None
    assert batch.errors.data is not None
    (error,) = batch.errors.data
    assert (error.code, error.line) == ("invalid_json_line", 1)


def test_a_batch_can_be_cancelled(client: OpenAI) -> None:
    slow = {"model": MODEL, "messages": [{"role": "user", "content": script({"text": "Late.", "wait": 3})}]}
    file = uploaded(client, *[slow] * 200)
    batch = client.batches.create(input_file_id=file, endpoint=CHAT, completion_window="24h")
    assert client.batches.cancel(batch.id).status == "cancelling"
    batch = ended(client, batch.id)
    assert batch.status == "cancelled"
    assert batch.cancelled_at is not None
    with pytest.raises(openai.BadRequestError, match="Cannot cancel a batch with status 'cancelled'"):
        client.batches.cancel(batch.id)


def test_batches_are_listed_page_by_page(client: OpenAI) -> None:
    file = uploaded(client, BODIES[CHAT])
    made = [
        client.batches.create(input_file_id=file, endpoint=CHAT, completion_window="24h").id for _ in range(3)
    ]
    first = client.batches.list(limit=2)
    assert [batch.id for batch in first.data] == made[:0:-1]
    assert client.batches.list(limit=1, after=made[1]).data[0].id == made[0]
    for id in made:
        ended(client, id)


def test_the_output_files_expire_as_asked(client: OpenAI) -> None:
    body = {"output_expires_after": {"anchor": "created_at", "seconds": 3600}}
    file = uploaded(client, BODIES[CHAT])
    batch = client.batches.create(input_file_id=file, endpoint=CHAT, completion_window="24h", extra_body=body)
    output = client.files.retrieve(str(ended(client, batch.id).output_file_id))
    assert output.expires_at == output.created_at + 3600


def test_what_is_no_batch_is_refused(client: OpenAI) -> None:
    file = uploaded(client, BODIES[CHAT])
    with pytest.raises(openai.BadRequestError) as caught:
        client.batches.create(
            input_file_id=file,
            endpoint="/v1/videos",  # type: ignore[arg-type]
            completion_window="24h",
        )
    assert (caught.value.param, caught.value.code) == ("endpoint", "invalid_value")
    with pytest.raises(openai.BadRequestError) as caught:
        client.batches.create(
            input_file_id=file,
            endpoint=CHAT,
            completion_window="1h",  # type: ignore[arg-type]
        )
    assert caught.value.param == "completion_window"
    with pytest.raises(openai.NotFoundError, match="No such File object: file-none"):
        client.batches.create(input_file_id="file-none", endpoint=CHAT, completion_window="24h")
    other = client.files.create(file=("a.txt", b"x"), purpose="user_data").id
    with pytest.raises(openai.BadRequestError) as caught:
        client.batches.create(input_file_id=other, endpoint=CHAT, completion_window="24h")
    assert caught.value.param == "input_file_id"
    with pytest.raises(openai.NotFoundError, match="No batch found with id 'batch_none'"):
        client.batches.retrieve("batch_none")
    with pytest.raises(openai.NotFoundError):
        client.batches.cancel("batch_none")
