"""Which route answers in place of one that fails, by the class of its error."""

import json

import pytest

from inference.errors import ProviderBroken, ProviderRejected
from inference.gateway import Gateway
from inference.gateway.routing.error_classes import error_class
from persistence.types import JSON
from tests.inference.gateway.routed import Make, asked, failing, make, request
from tests.provider import ProviderProcess

__all__ = ["make"]

pytestmark = pytest.mark.usefixtures("tag")


CHAIN = """
  m: {provider: p, model: a, fallbacks: {context_window: [long], content_policy: [free], rate_limit: [spare],
      server_error: [spare], default: [other]}}
  long: {provider: q, model: long}
  free: {provider: q, model: free}
  spare: {provider: q, model: spare}
  other: {provider: q, model: other}
"""


@pytest.mark.parametrize(
    ("fail", "answering"),
    [
        (failing(400, "too long", code="context_length_exceeded"), "long"),
        (failing(400, "This model's maximum context length is 8 tokens"), "long"),
        (failing(413, "too much"), "long"),
        (failing(400, "prompt is too long: 9 tokens > 8 maximum"), "long"),
        (failing(400, "The response was filtered", code="content_filter"), "free"),
        (failing(429), "spare"),
        (failing(500), "spare"),
        (failing(0), "spare"),
        (failing(401), "other"),
        (failing(404), "other"),
    ],
)
async def test_a_fallback_is_chosen_by_the_class_of_the_error(
    make: Make, provider: ProviderProcess, tag: str, fail: JSON, answering: str
) -> None:
    gateway = await make(CHAIN)
    frames = b"".join([frame async for frame in gateway.relay(request(tag, a=fail))])
    assert b'"error"' not in frames
    assert asked(provider, tag) == ["a", answering]


FILTERED: JSON = {"text": "", "finish_reason": "content_filter"}


async def answers(gateway: Gateway, said: JSON) -> list[str]:
    """The text, or else the finish reason, of the same request whole, as frames and as chunks."""
    whole = (await gateway.complete(said))["choices"][0]
    texts = [whole["message"]["content"] or whole["finish_reason"]]
    frames = b"".join([frame async for frame in gateway.relay(said)])
    assert frames.count(b"[DONE]") == 1
    framed = [json.loads(line[6:]) for line in frames.splitlines() if line.startswith(b"data: {")]
    for chunks in (framed, [chunk async for chunk in gateway.chunks(said)]):
        choices = [choice for chunk in chunks for choice in chunk["choices"]]
        text = "".join(choice["delta"].get("content") or "" for choice in choices)
        texts.append(text or choices[-1]["finish_reason"])
    return texts


async def test_an_answer_that_is_all_filtered_falls_back_as_a_refused_request_does(
    make: Make, provider: ProviderProcess, tag: str
) -> None:
    gateway = await make(CHAIN)
    assert await answers(gateway, request(tag, a=FILTERED, free={"text": "Fine."})) == ["Fine."] * 3
    assert asked(provider, tag) == ["a", "free"] * 3
    assert gateway.deployments.state("p/a").open == gateway.deployments.state("q/free").open == 0


@pytest.mark.parametrize("fallback", [FILTERED, failing(500), failing(400)])
async def test_a_filtered_answer_is_what_the_client_gets_if_no_fallback_has_another(
    make: Make, tag: str, fallback: JSON
) -> None:
    gateway = await make(CHAIN)
    assert await answers(gateway, request(tag, a=FILTERED, free=fallback)) == ["content_filter"] * 3
    assert gateway.deployments.state("p/a").open == gateway.deployments.state("q/free").open == 0


async def test_an_answer_that_is_filtered_behind_its_first_words_stays(
    make: Make, provider: ProviderProcess, tag: str
) -> None:
    gateway = await make(CHAIN)
    said = request(tag, a={"text": "It is", "finish_reason": "content_filter"})
    assert await answers(gateway, said) == ["It is"] * 3
    assert asked(provider, tag) == ["a"] * 3


async def test_a_filtered_answer_stays_where_no_fallback_is_for_content_policy(
    make: Make, provider: ProviderProcess, tag: str
) -> None:
    gateway = await make("  m: {provider: p, model: a, fallbacks: [n]}\n  n: {provider: q, model: b}")
    assert await answers(gateway, request(tag, a=FILTERED)) == ["content_filter"] * 3
    assert asked(provider, tag) == ["a"] * 3


async def test_a_plain_list_of_fallbacks_is_not_for_requests_that_are_at_fault(
    make: Make, provider: ProviderProcess, tag: str
) -> None:
    gateway = await make("  m: {provider: p, model: a, fallbacks: [n]}\n  n: {provider: q, model: b}")
    for code in ("context_length_exceeded", "content_filter"):
        with pytest.raises(ProviderRejected):
            await gateway.complete(request(tag, a=failing(400, code=code)))
    assert asked(provider, tag) == ["a", "a"]


async def test_a_fallback_falls_back_by_its_own_list_and_each_name_is_asked_once(
    make: Make, provider: ProviderProcess, tag: str
) -> None:
    gateway = await make(
        "  m: {provider: p, model: a, fallbacks: [n, o]}\n"
        "  n: {provider: q, model: b, fallbacks: [o]}\n"
        "  o: {provider: q, model: c}"
    )
    with pytest.raises(ProviderBroken, match="first"):
        await gateway.complete(request(tag, a=failing(500, "first"), b=failing(500), c=failing(500)))
    assert asked(provider, tag) == ["a", "b", "c"]


async def test_the_error_is_the_named_models_where_a_fallback_refuses_the_request(
    make: Make, tag: str
) -> None:
    gateway = await make("  m: {provider: p, model: a, fallbacks: [n]}\n  n: {provider: q, model: b}")
    small = failing(400, "too long", code="context_length_exceeded")
    with pytest.raises(ProviderBroken, match="overloaded"):
        await gateway.complete(request(tag, a=failing(503, "overloaded"), b=small))


async def test_a_fallback_answers_at_once_where_the_provider_asks_to_wait(
    make: Make, provider: ProviderProcess, tag: str
) -> None:
    gateway = await make(
        "  m: {provider: p, model: a, retries: 2, fallbacks: {rate_limit: [n]}}\n  n: {provider: q, model: b}"
    )
    await gateway.complete(request(tag, a=failing(429, retry_after=15)))
    await gateway.complete(request(tag, a=failing(429, retry_after=15)))
    assert asked(provider, tag) == ["a", "b", "b"]


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("Please reduce the length of the messages or completion.", "context_window"),
        ("The input (9 tokens) is longer than the model's context length (8 tokens).", "context_window"),
        ("the request exceeds the available context size", "context_window"),
        ("The input token count (9) exceeds the maximum number of tokens allowed (8).", "context_window"),
        ("Input is too long for requested model.", "context_window"),
        ("The prompt triggered Azure OpenAI's content management policy.", "content_policy"),
        ("'temperature' must be at most 2", None),
    ],
)
def test_the_words_of_providers_say_which_class_an_error_has(message: str, expected: str | None) -> None:
    assert error_class(ProviderRejected(message, status=400)) == expected
