"""Provider settings in the headers of one request, against a live server of two workers in `astra` mode."""

import json

import httpx
import pytest

from handlers.google import google_credentials
from tests.handlers.caller_settings.requests import KEY, Ask, refusal
from tests.provider import ProviderProcess
from tests.server import Server

pytestmark = pytest.mark.server


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ({"Authorization": f"Bearer {KEY}"}, KEY),
        ({"Authorization": "Bearer sk-other", "api-key": KEY}, KEY),
        ({"Authorization": "Bearer sk-other", "api-key": "sk-other", "LLM-PARAM-api-key": KEY}, KEY),
    ],
)
def test_the_callers_key_is_sent_for_that_request_only(
    http: httpx.Client, ask: Ask, provider: ProviderProcess, tag: str, headers: dict[str, str], key: str
) -> None:
    answer = http.post("chat/completions", json=ask(), headers={**headers, "base-url": provider.url})
    assert answer.status_code == 200, answer.text
    http.post(
        "chat/completions",
        json=ask(),
        headers={"Authorization": "Bearer sk-next", "base-url": provider.url},
    )
    sent = [record["headers"]["authorization"] for record in provider.received(tag)]
    assert sent == [f"Bearer {key}", "Bearer sk-next"]
    assert provider.received(tag)[0]["body"]["model"] == "gpt-4o"


def test_azure_gets_the_callers_deployment_key_and_version(
    http: httpx.Client, ask: Ask, provider: ProviderProcess, tag: str
) -> None:
    headers = {"api-key": KEY, "base-url": provider.url.removesuffix("/v1"), "api-version": "2024-10-21"}
    answer = http.post("chat/completions", json=ask("azure/mine"), headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.json()["choices"][0]["message"]["content"] == "Hello."
    [sent] = provider.received(tag)
    assert sent["path"] == "/openai/deployments/mine/chat/completions"
    assert (sent["headers"]["api-key"], sent["headers"].get("authorization")) == (KEY, None)


def test_parameters_are_cast_and_the_bodys_own_fields_go_before(
    http: httpx.Client, ask: Ask, provider: ProviderProcess, tag: str
) -> None:
    headers = {
        "api-key": KEY,
        "LLM-PARAM-base-url": provider.url,
        "LLM-PARAM-temperature": "0.5",
        "LLM-PARAM-top-k": "40",
        "LLM-PARAM-parallel-tool-calls": "false",
        "LLM-PARAM-response-format": '{"type": "json_object"}',
        "LLM-PARAM-stop": "END",
        "LLM-PARAM-max-tokens": "7",
    }
    answer = http.post("chat/completions", json=ask(max_tokens=50), headers=headers)
    assert answer.status_code == 200, answer.text
    sent = provider.received(tag)[0]["body"]
    assert (sent["temperature"], sent["top_k"], sent["parallel_tool_calls"]) == (0.5, 40, False)
    assert (sent["response_format"], sent["stop"], sent["max_tokens"]) == (
        {"type": "json_object"},
        ["END"],
        50,
    )


def test_a_parameter_that_nobody_knows_is_passed_on_with_the_type_that_its_text_has(
    http: httpx.Client, ask: Ask, provider: ProviderProcess, tag: str
) -> None:
    values = {
        "guided-choice": ('["yes", "no"]', ["yes", "no"]),
        "options": ('{"num_gpu": 1}', {"num_gpu": 1}),
        "n": ("2", 2),
        "sampling-rate": ("0.25", 0.25),
        "use-cache": ("True", True),
        "transforms": ("middle-out", "middle-out"),
        "build": ("007", "007"),
        "quoted": ('"7"', "7"),
        "account": ("123456789012345678901234567890", "123456789012345678901234567890"),
        "odd": ("{'a': 1}", "{'a': 1}"),
    }
    headers = {f"LLM-PARAM-{name}": text for name, (text, _) in values.items()}
    answer = http.post(
        "chat/completions", json=ask(), headers={"api-key": KEY, "base-url": provider.url, **headers}
    )
    assert answer.status_code == 200, answer.text
    [record] = provider.received(tag)
    for name, (_, value) in values.items():
        sent = record["body"][name.replace("-", "_")]
        assert (sent, type(sent)) == (value, type(value))


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["mistral/mistral-small", "openrouter/auto"])
def test_a_parameter_that_litellm_does_not_know_reaches_other_providers_too(
    http: httpx.Client, ask: Ask, provider: ProviderProcess, tag: str, model: str, stream: bool
) -> None:
    headers = {"api-key": KEY, "base-url": provider.url, "LLM-PARAM-own-option": '{"a": [1, true]}'}
    answer = http.post("chat/completions", json=ask(model, max_tokens=50, stream=stream), headers=headers)
    assert answer.status_code == 200, answer.text
    [record] = provider.received(tag)
    assert record["body"]["own_option"] == {"a": [1, True]}


def test_a_provider_that_takes_only_known_parameters_gets_them_and_others_are_refused_by_name(
    http: httpx.Client, ask: Ask, provider: ProviderProcess, tag: str
) -> None:
    headers = {"api-key": KEY, "base-url": provider.root, "LLM-PARAM-container": "container_1"}
    body = ask("anthropic/claude-sonnet-4-5", max_tokens=50)
    assert http.post("chat/completions", json=body, headers=headers).status_code == 200
    [record] = provider.received(tag)
    assert record["body"]["container"] == "container_1"
    headers["LLM-PARAM-own-option"] = "1"
    status, error = refusal(http.post("chat/completions", json=body, headers=headers))
    assert (status, error["param"], error["code"]) == (400, "own_option", "unknown_parameter")
    sent = {"model": "gemini/gemini-embedding-001", "input": "x"}
    headers = {"api-key": KEY, "base-url": provider.root, "EMBEDDING-PARAM-own-option": "1"}
    status, error = refusal(http.post("embeddings", json=sent, headers=headers))
    assert (status, error["param"], error["code"]) == (400, "own_option", "unknown_parameter")
    assert len(provider.received(tag)) == 1


def test_a_parameter_that_openai_does_not_know_is_refused_by_name(http: httpx.Client, ask: Ask) -> None:
    headers = {"api-key": KEY, "LLM-PARAM-own-option": "1"}
    status, error = refusal(http.post("chat/completions", json=ask("gpt-4o"), headers=headers))
    assert (status, error["param"], error["code"]) == (400, "own_option", "unknown_parameter")


@pytest.mark.parametrize(
    "name",
    [
        "model",
        "messages",
        "stream",
        "tools",
        "mock-response",
        "vertex-credentials",
        "extra-body",
        "timeout",
        "",
    ],
)
def test_a_parameter_that_is_the_requests_or_the_servers_own_is_refused_by_name(
    http: httpx.Client, ask: Ask, provider: ProviderProcess, tag: str, name: str
) -> None:
    headers = {"api-key": KEY, "base-url": provider.url, f"LLM-PARAM-{name}": "x"}
    status, error = refusal(http.post("chat/completions", json=ask(), headers=headers))
    assert (status, error["param"]) == (400, f"llm-param-{name}")
    assert provider.received(tag) == []


def test_legacy_completions_have_the_callers_parameters(
    http: httpx.Client, provider: ProviderProcess, tag: str
) -> None:
    script = "script: " + json.dumps({"tag": tag, "turns": [{"text": "Hello."}]})
    headers = {"api-key": KEY, "base-url": provider.url, "LLM-PARAM-temperature": "0.5"}
    for stream in (False, True):
        body = {"model": "openai/m", "prompt": script, "stream": stream}
        assert http.post("completions", json=body, headers=headers).status_code == 200
    assert [one["body"]["temperature"] for one in provider.received(tag)] == [0.5, 0.5]


def test_a_models_name_chooses_its_provider(
    http: httpx.Client, ask: Ask, provider: ProviderProcess, tag: str
) -> None:
    headers = {"api-key": KEY, "base-url": provider.root}
    body = ask("anthropic/claude-sonnet-4-5", max_tokens=50)
    answer = http.post("chat/completions", json=body, headers=headers)
    assert answer.json()["choices"][0]["message"]["content"] == "Hello."
    (record,) = provider.received(tag)
    assert (record["path"], record["headers"]["x-api-key"]) == ("/v1/messages", KEY)


def test_embeddings_have_parameters_of_their_own(
    http: httpx.Client, provider: ProviderProcess, tag: str
) -> None:
    headers = {
        "api-key": KEY,
        "EMBEDDING-PARAM-base-url": provider.url,
        "EMBEDDING-PARAM-dimensions": "16",
        "EMBEDDING-PARAM-truncate": "true",
    }
    text = "script: " + json.dumps({"tag": tag, "turns": []})
    answer = http.post("embeddings", json={"model": "openai/m", "input": text}, headers=headers)
    assert len(answer.json()["data"][0]["embedding"]) == 16
    assert provider.received(tag)[0]["body"]["truncate"] is True


def test_a_run_asks_the_callers_provider(
    http: httpx.Client, ask: Ask, provider: ProviderProcess, tag: str
) -> None:
    assistant = http.post("assistants", json={"model": "openai/gpt-4o"}).json()["id"]
    thread = http.post("threads", json={"messages": ask()["messages"]}).json()["id"]
    body = {"assistant_id": assistant, "stream": True}
    headers = {"Authorization": f"Bearer {KEY}", "base-url": provider.url, "LLM-PARAM-seed": "4"}
    answer = http.post(f"threads/{thread}/runs", json=body, headers=headers)
    assert "thread.run.completed" in answer.text
    (record,) = provider.received(tag)
    assert record["headers"]["authorization"] == f"Bearer {KEY}"
    assert record["body"]["seed"] == 4


def test_requests_to_aws_are_signed_with_the_callers_keys_and_not_with_the_machines_account(
    http: httpx.Client, ask: Ask, provider: ProviderProcess, tag: str
) -> None:
    keys = {"aws-access-key-id": "AKIACALLER", "aws-secret-access-key": KEY, "aws-region-name": "eu-west-1"}
    headers = {**keys, "base-url": provider.root}
    body = ask("bedrock/anthropic.claude-3-sonnet-20240229-v1:0", max_tokens=50)
    answer = http.post("chat/completions", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    [record] = provider.received(tag)
    assert "Credential=AKIACALLER/" in record["headers"]["authorization"]
    assert "the-machines" not in json.dumps(record["headers"])


def test_without_a_key_of_the_caller_no_provider_is_asked(http: httpx.Client, ask: Ask) -> None:
    status, error = refusal(http.post("chat/completions", json=ask("groq/llama-3")))
    assert (status, error["param"], error["code"]) == (400, "api-key", "missing_header")
    body = ask("bedrock/anthropic.claude-3")
    status, error = refusal(http.post("chat/completions", json=body, headers={"api-key": KEY}))
    assert (status, error["param"]) == (400, "aws-access-key-id")


@pytest.mark.parametrize(
    "name",
    [
        "Authorization",
        "api-key",
        "api-version",
        "aws-access-key-id",
        "aws-region-name",
        "aws-secret-access-key",
        "base-url",
        "custom-llm-provider",
        "embedding-model",
        "google-application-credentials-file-id",
        "project-id",
        "vertexai-location",
        "vertexai-project",
        "LLM-PARAM-temperature",
        "EMBEDDING-PARAM-dimensions",
    ],
)
@pytest.mark.parametrize("value", ["g\u00e4rbage\u0080", "x" * 60_000])
def test_a_header_of_garbage_is_refused_by_its_name(
    http: httpx.Client, ask: Ask, provider: ProviderProcess, tag: str, name: str, value: str
) -> None:
    headers = {"Authorization": f"Bearer {KEY}", "base-url": provider.url, name: value.encode("utf-8")}
    status, error = refusal(http.post("chat/completions", json=ask(), headers=headers))  # type: ignore[arg-type]
    assert (status, error["param"], error["code"]) == (400, name.lower(), "invalid_header")
    assert provider.received(tag) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LLM-PARAM-temperature", "hot"),
        ("LLM-PARAM-temperature", "nan"),
        ("LLM-PARAM-temperature", "1e999"),
        ("LLM-PARAM-seed", "1.5"),
        ("LLM-PARAM-seed", "1" + "0" * 300),
        ("LLM-PARAM-seed", "1" + "0" * 5000),
        ("LLM-PARAM-stop", "[" * 253 + "]" * 253),
        ("LLM-PARAM-logit-bias", '{"a":' * 900 + "1" + "}" * 900),
        ("LLM-PARAM-logprobs", "maybe"),
        ("LLM-PARAM-response-format", "[1]"),
        ("LLM-PARAM-own-option", "[" * 253 + "]" * 253),
        ("Authorization", "Basic dXNlcjpwYXNz"),
        ("custom-llm-provider", "../nobody"),
        ("aws-region-name", "evil.example/#"),
        ("vertexai-location", "a.b"),
        ("LLM-PARAM-mock-response", "x"),
        ("LLM-PARAM-vertex-credentials", "/etc/passwd"),
    ],
)
def test_a_value_that_a_setting_cannot_have_is_refused(
    http: httpx.Client, ask: Ask, provider: ProviderProcess, tag: str, name: str, value: str
) -> None:
    headers = {"Authorization": f"Bearer {KEY}", "base-url": provider.url, name: value}
    status, _ = refusal(http.post("chat/completions", json=ask("gpt-4o"), headers=headers))
    assert status in range(400, 500)
    assert provider.received(tag) == []


def test_a_credentials_file_is_the_tenants_own_and_of_purpose_auth(http: httpx.Client, ask: Ask) -> None:
    def upload(content: object, purpose: str = "auth") -> str:
        files = {"file": ("key.json", json.dumps(content))}
        made = http.post("files", data={"purpose": purpose}, files=files)
        assert made.status_code == 200, made.text
        return str(made.json()["id"])

    def run(file: str, **headers: str) -> tuple[int, str, str]:
        sent = {"google-application-credentials-file-id": file, **headers}
        status, error = refusal(
            http.post("chat/completions", json=ask("vertex_ai/gemini-2.5-pro"), headers=sent)
        )
        assert error["param"] == "google-application-credentials-file-id"
        return status, error["code"] or "", error["message"]

    account = {"type": "external_account", "credential_source": {"file": "/etc/passwd"}}
    assert run(upload(account))[:2] == (400, "invalid_header")
    assert "purpose" in run(upload({}, "assistants"))[2]
    theirs = {"astra-api-token": "AstraCS:theirs:0123456789abcdef"}
    assert run(upload(account), **theirs)[0] == 404
    assert run("file-of-nobody")[0] == 404


def test_googles_credentials_lead_to_google_alone() -> None:
    account = {"client_email": "a@b", "private_key": "k", "private_key_id": "i", "project_id": "p"}
    given = {"type": "service_account", **account, "token_uri": "http://169.254.169.254/", "extra": 1}
    kept = json.loads(google_credentials(json.dumps(given).encode()))
    assert kept == {"type": "service_account", **account, "token_uri": "https://oauth2.googleapis.com/token"}
    for content in (b"", b"[]", b'{"type": "service_account"}', b'{"type": ["x"]}'):
        with pytest.raises(ValueError, match="it"):
            google_credentials(content)


def test_no_secret_of_a_caller_is_logged(astra: Server, http: httpx.Client, ask: Ask) -> None:
    headers = {"api-key": KEY, "LLM-PARAM-api-key": KEY, "base-url": f"http://{KEY}.example"}
    assert http.post("chat/completions", json=ask(), headers=headers).status_code == 400
    assert KEY not in astra.log.read_text()
