"""The official SDK's AzureOpenAI: deployments in the path, `api-version` in the query, `api-key` as header."""

from collections.abc import Iterator

import pytest
from conftest import script
from openai import AzureOpenAI, NotFoundError, OpenAI


@pytest.fixture(scope="module", params=["azure_endpoint", "/v1", "/openai", "/openai/v1"])
def azure(url: str, request: pytest.FixtureRequest) -> Iterator[AzureOpenAI]:
    """The client with each address that people give it."""
    host = url.removesuffix("/v1")
    is_endpoint = request.param == "azure_endpoint"
    address = {"azure_endpoint": host} if is_endpoint else {"base_url": host + request.param}
    with AzureOpenAI(**address, api_version="2024-10-21", api_key="any", max_retries=0, timeout=60) as azure:
        yield azure


def user(content: str) -> list:
    return [{"role": "user", "content": content}]


def test_a_deployment_is_a_models_name(azure: AzureOpenAI) -> None:
    answer = azure.chat.completions.create(model="gpt-4o", messages=user(script({"text": "Hello."})))
    assert (answer.model, answer.choices[0].message.content) == ("gpt-4o", "Hello.")


def test_a_deployments_name_may_have_a_slash(azure: AzureOpenAI) -> None:
    answer = azure.chat.completions.create(model="org/model", messages=user(script({"text": "Hello."})))
    assert answer.choices[0].message.content == "Hello."


def test_a_deployments_completion_is_streamed(azure: AzureOpenAI) -> None:
    stream = azure.chat.completions.create(
        model="gpt-4o", messages=user(script({"text": "a b c"})), stream=True
    )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices) == "a b c"


def test_a_deployment_embeds(azure: AzureOpenAI) -> None:
    answer = azure.embeddings.create(model="text-embedding-3-small", input=["a", "b"])
    assert [one.index for one in answer.data] == [0, 1]


def test_assistants_threads_and_runs_work_without_a_deployment(azure: AzureOpenAI) -> None:
    assistant = azure.beta.assistants.create(model="gpt-4o")
    thread = azure.beta.threads.create(messages=user(script({"text": "Hi."})))
    run = azure.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id)
    assert run.status == "completed"
    messages = azure.beta.threads.messages.list(thread.id).data
    assert messages[0].content[0].text.value == "Hi."
    azure.beta.threads.delete(thread.id)
    azure.beta.assistants.delete(assistant.id)


def test_files_are_uploaded_and_read(azure: AzureOpenAI) -> None:
    file = azure.files.create(file=("a.txt", b"words"), purpose="assistants")
    assert azure.files.content(file.id).read() == b"words"
    azure.files.delete(file.id)
    with pytest.raises(NotFoundError):
        azure.files.retrieve(file.id)


@pytest.mark.parametrize("query", [{}, {"api-version": "preview"}])
def test_azures_newer_path_is_openais_api(url: str, query: dict) -> None:
    base = url.removesuffix("/v1") + "/openai/v1/"
    headers = {"api-key": "any"}
    with OpenAI(base_url=base, api_key="any", default_query=query, default_headers=headers) as client:
        answer = client.chat.completions.create(model="m", messages=user(script({"text": "Hello."})))
        assert answer.choices[0].message.content == "Hello."
        assistant = client.beta.assistants.create(model="m")
        assert client.beta.assistants.retrieve(assistant.id) == assistant
        client.beta.assistants.delete(assistant.id)
