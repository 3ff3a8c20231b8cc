import pytest
from conftest import MODEL, script
from openai import BadRequestError, OpenAI

pytest.importorskip("openai.types.responses.compacted_response", reason="older SDKs cannot compact")

TRIGGER = {"type": "compaction_trigger"}


def test_a_compacted_context_is_sent_back_as_input(client: OpenAI) -> None:
    input = [{"role": "user", "content": "Remember 42."}, {"role": "assistant", "content": "I do."}]
    compacted = client.responses.compact(model=MODEL, input=input)
    assert (compacted.object, [item.type for item in compacted.output]) == (
        "response.compaction",
        ["message", "compaction"],
    )
    assert compacted.usage.total_tokens > 0
    items = [item.model_dump(exclude_none=True) for item in compacted.output]
    response = client.responses.create(
        model=MODEL, input=[*items, {"role": "user", "content": script({"text": "Aye."})}], store=False
    )
    assert response.output_text == "Aye."


@pytest.mark.parametrize("store", [True, False])
def test_a_trigger_is_answered_by_one_compaction(client: OpenAI, store: bool) -> None:
    input = [{"role": "user", "content": "Remember 42."}, TRIGGER]
    with client.responses.stream(model=MODEL, input=input, store=store) as stream:
        events = [event.type for event in stream]
        response = stream.get_final_response()
    assert events[-3:] == ["response.output_item.added", "response.output_item.done", "response.completed"]
    assert [item.type for item in response.output] == ["compaction"]


def test_input_tokens_are_counted(client: OpenAI) -> None:
    first = client.responses.create(model=MODEL, input="One two three four five.")
    alone = client.responses.input_tokens.count(model=MODEL, input="Six.")
    chained = client.responses.input_tokens.count(model=MODEL, input="Six.", previous_response_id=first.id)
    assert alone.object == "response.input_tokens"
    assert 0 < alone.input_tokens < chained.input_tokens


def test_the_beta_forms_answer_as_their_plain_forms(client: OpenAI) -> None:
    beta = getattr(client.beta, "responses", None)
    if beta is None:
        pytest.skip("older SDKs have no beta of responses")
    response = beta.create(model=MODEL, input=script({"text": "Aye."}), betas=["responses_multi_agent=v1"])
    assert response.output[0].content[0].text == "Aye."
    assert beta.retrieve(response.id).output == response.output
    assert [item.type for item in beta.input_items.list(response.id)] == ["message"]
    assert [item.type for item in beta.compact(model=MODEL, input="x").output] == ["message", "compaction"]
    assert beta.input_tokens.count(model=MODEL, input="x").input_tokens > 0
    background = beta.create(model=MODEL, input=script({"text": "Aye.", "wait": 60}), background=True)
    assert beta.cancel(background.id).status == "cancelled"
    beta.delete(response.id)
    with pytest.raises(BadRequestError, match="multi_agent"):
        beta.create(model=MODEL, input="x", multi_agent={"enabled": True})
