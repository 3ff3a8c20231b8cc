import openai
import pytest
from conftest import MODEL, script
from openai import OpenAI


def user(content: str) -> list:
    return [{"role": "user", "content": content}]


def test_a_completion_is_relayed(client: OpenAI) -> None:
    answer = client.chat.completions.create(model=MODEL, messages=user(script({"text": "Hello."})))
    assert answer.choices[0].message.content == "Hello."
    assert answer.usage.total_tokens > 0


def test_a_streamed_completion_is_relayed_chunk_by_chunk(client: OpenAI) -> None:
    stream = client.chat.completions.create(
        model=MODEL,
        messages=user(script({"text": "a b c"})),
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "a b c"
    assert chunks[-1].usage.total_tokens > 0


def test_tools_are_called(client: OpenAI) -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
    answer = client.chat.completions.create(
        model=MODEL, messages=user(script({"calls": [{"name": "f", "arguments": {"a": 1}}]})), tools=[tool]
    )
    assert answer.choices[0].message.tool_calls[0].function.name == "f"


@pytest.mark.parametrize(("status", "error"), [(400, openai.BadRequestError), (429, openai.RateLimitError)])
def test_a_providers_error_keeps_its_status_and_message(client: OpenAI, status: int, error: type) -> None:
    with pytest.raises(error) as failure:
        client.chat.completions.create(
            model=MODEL,
            messages=user(
                script({"fail": {"status": status, "message": "the provider's words", "retry_after": 0}})
            ),
        )
    assert "the provider's words" in failure.value.message


def test_an_error_after_the_first_byte_is_an_event(client: OpenAI) -> None:
    stream = client.chat.completions.create(
        model=MODEL, messages=user(script({"text": "a b c d", "close_after": 2})), stream=True
    )
    with pytest.raises(openai.APIError):
        list(stream)


def test_models_are_listed(client: OpenAI) -> None:
    assert client.models.list().data is not None


def test_embeddings_are_relayed(client: OpenAI) -> None:
    answer = client.embeddings.create(model="text-embedding-3-small", input=["a", "b"])
    assert [one.index for one in answer.data] == [0, 1]
