"""An answer ends exactly at the most that a run takes."""

from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from inference.engine.events import Event, ItemDelta, ItemStarted
from inference.engine.tools import Toolbox
from inference.engine.turns import MAX_ITEMS, PIECE, TurnReader, beginning


def read(deltas: list[dict[str, Any]], most: int, together: int = 1) -> tuple[TurnReader, list[Event]]:
    """Read an answer, so many chunks together, until it ends or is full, as a run does."""
    reader = TurnReader(Toolbox([]), set(), max_answer=most)
    events: list[Event] = []
    chunks = [{"choices": [{"delta": delta}]} for delta in deltas]
    for start in range(0, len(chunks), together):
        events += reader.read(chunks[start : start + together])
        if reader.is_full:
            break
    else:
        reader.finish = "stop"
    return reader, [*events, *reader.end()]


@given(
    pieces=st.lists(st.text(min_size=1), max_size=20), most=st.integers(1, 300), together=st.integers(1, 20)
)
def test_the_text_of_an_answer_is_cut_where_its_bytes_are_used_up(
    pieces: list[str], most: int, together: int
) -> None:
    reader, events = read([{"content": piece} for piece in pieces], most, together)
    texts = [text for event in events if isinstance(event, ItemDelta) for text in event.texts]
    size = sum(len(orjson.dumps(text)) - 2 + PIECE for text in texts)
    assert size <= most
    assert "".join(pieces).startswith("".join(texts))
    assert reader.is_full == (len("".join(texts)) < len("".join(pieces)))
    if reader.is_full:
        following = "".join(pieces)[len("".join(texts))]
        assert size + PIECE + len(orjson.dumps(following)) - 2 > most
        assert reader.finish == "length"


@given(
    chunks=st.lists(st.dictionaries(st.sampled_from(["content", "refusal"]), st.text(), max_size=2)),
    together=st.integers(2, 20),
)
def test_chunks_that_arrive_together_are_read_as_one_by_one(
    chunks: list[dict[str, Any]], together: int
) -> None:
    def grown(events: list[Event]) -> list[tuple[str, str]]:
        deltas = [event for event in events if isinstance(event, ItemDelta)]
        return [(event.part, text) for event in deltas for text in event.texts]

    assert grown(read(chunks, 10_000, together)[1]) == grown(read(chunks, 10_000)[1])


@given(text=st.text(max_size=200), most=st.integers(-5, 100))
def test_the_beginning_of_a_text_is_the_longest_that_fits(text: str, most: int) -> None:
    start = beginning(text, most)
    assert text.startswith(start)
    assert len(orjson.dumps(start)) - 2 <= max(0, most)
    if start != text:
        assert len(orjson.dumps(text[: len(start) + 1])) - 2 > most


def test_no_call_is_begun_beyond_the_most_items() -> None:
    calls = [{"tool_calls": [{"index": n, "function": {"name": "f"}}]} for n in range(MAX_ITEMS + 5)]
    reader, events = read(calls, 1_000_000)
    assert sum(isinstance(event, ItemStarted) for event in events) == MAX_ITEMS
    assert (reader.is_full, reader.finish) == (True, "length")
