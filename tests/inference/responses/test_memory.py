"""A connection remembers its latest responses, within bounds."""

from inference.responses.memory import ConnectionMemory


def items(text: str) -> list[dict]:
    return [{"type": "message", "content": text}]


async def test_a_response_is_remembered_until_it_is_discarded() -> None:
    memory = ConnectionMemory()
    await memory.put("resp_1", items("one"))
    assert memory.get("resp_1") == items("one")
    memory.discard("resp_1")
    memory.discard("resp_1")
    assert memory.get("resp_1") is None


async def test_the_oldest_response_makes_room() -> None:
    memory = ConnectionMemory(max_responses=2)
    for number in range(3):
        await memory.put(f"resp_{number}", items(str(number)))
    assert [memory.get(f"resp_{number}") for number in range(3)] == [None, items("1"), items("2")]


async def test_bytes_are_bounded_and_counted_once_for_each_response() -> None:
    memory = ConnectionMemory(max_bytes=1000)
    for _ in range(5):
        await memory.put("resp_1", items("x" * 400))
    await memory.put("resp_2", items("y" * 400))
    assert memory.get("resp_1") is not None
    await memory.put("resp_3", items("z" * 400))
    assert memory.get("resp_1") is None
    assert memory.get("resp_3") is not None


async def test_a_context_over_the_limit_is_not_remembered() -> None:
    memory = ConnectionMemory(max_bytes=100)
    await memory.put("resp_1", items("x" * 200))
    assert memory.get("resp_1") is None
    await memory.put("resp_2", items("x"))
    assert memory.get("resp_2") == items("x")
