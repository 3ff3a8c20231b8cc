"""The phase of a message, which a model wants back: kept in items and sent with the text."""

from inference.engine.events import started_item
from inference.engine.items import Message
from inference.engine.tools import Toolbox
from inference.engine.turns import TurnReader
from inference.responses.chat import chat_messages
from inference.responses.items import stored_items
from inference.responses.objects import message_item
from persistence.types import JSON
from tests.inference.responses.test_chat import Files


def delta(**members: str) -> JSON:
    return {"choices": [{"index": 0, "delta": members, "finish_reason": None}]}


def test_each_phase_of_an_answer_is_a_message() -> None:
    reader = TurnReader(Toolbox([]), set())
    chunks = [
        delta(phase="commentary"),
        delta(content="I look."),
        delta(phase="final_answer"),
        delta(content="Done."),
    ]
    events = reader.read(chunks)
    messages = [started_item(event) for event in events if type(event).__name__ == "ItemStarted"]
    assert [each.phase for each in messages if isinstance(each, Message)] == ["commentary", "final_answer"]
    assert message_item("msg_1", [], "completed", "commentary")["phase"] == "commentary"


async def test_a_phase_that_a_client_sends_back_stays_with_its_text() -> None:
    said = [
        {"role": "assistant", "content": "I look.", "phase": "commentary"},
        {"role": "assistant", "content": "Done.", "phase": "final_answer"},
        {"role": "assistant", "content": "Anything else?"},
    ]
    items = stored_items(said, lambda prefix: f"{prefix}1")
    assert [item.get("phase") for item in items] == ["commentary", "final_answer", None]
    (message,) = await chat_messages(items, Files(), None)
    assert message["content"] == [
        {"type": "text", "text": "I look.", "phase": "commentary"},
        {"type": "text", "text": "Done.", "phase": "final_answer"},
        {"type": "text", "text": "Anything else?"},
    ]
