"""The contexts of responses: what was said before them, read from the store.

Responses that continue each other are a list in the store, a chain, so that a long context is read by pages.
A second continuation of the same response begins a new chain. A response's `segments` say where its context
is, the oldest first: a chain up to a response, or a conversation up to an item (without `until`, whole).
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from inference.input_files import MAX_BYTES
from inference.responses.conversations import newest_items
from inference.responses.errors import ContextTooLong
from inference.responses.objects import without_cut_off
from inference.responses.sealing import ItemSealer
from inference.responses.state import INPUT, SEGMENTS
from persistence import large_json
from persistence.collections import RESPONSES
from persistence.listing import pages
from persistence.store import Document, Key, Replace, Store
from persistence.types import JSON

MOST_BYTES_OF_A_TOKEN = 8


@dataclass(frozen=True, slots=True)
class Previous:
    """What a new response continues.

    `chain` is "" for a chain of its own; `items` are those of `segments`, or without any those that only a
    connection remembers. `mark` notes in the response before it that it is continued, `busy` that the
    conversation has a response running.
    """

    chain: str = ""
    segments: list[JSON] = field(default_factory=list)
    items: list[JSON] = field(default_factory=list)
    mark: Replace | None = None
    busy: Replace | None = None


def segments_with(response: Document) -> list[JSON]:
    """Return the segments that hold a response's context and the response itself."""
    chain = response.parent
    before = response.state["extra"][SEGMENTS]
    if before and before[-1].get("chain") == chain:
        before = before[:-1]
    return [*before, {"chain": chain, "until": response.id, "position": response.position}]


class Contexts:
    """Reads contexts."""

    def __init__(self, store: Store, sealer: ItemSealer) -> None:
        self._store = store
        self._sealer = sealer

    async def of_request(self, response: Document, window: int) -> list[JSON]:
        """Return the items of a response's context and its input, oldest first; ContextTooLong."""
        project, extra = response.key.project, response.state["extra"]
        own: list[JSON] = extra[INPUT]
        truncates = response.value["truncation"] == "auto"
        return [*await self.read(project, extra[SEGMENTS], window, truncates=truncates), *own]

    async def read(
        self, project: str, segments: list[JSON], window: int, *, truncates: bool = False
    ) -> list[JSON]:
        """Return the items of segments, oldest first; they begin at the last compaction that can be read.

        What cannot fit into a model's context of `window` tokens is left out with `truncates`; else it is
        ContextTooLong.
        """
        room = window * MOST_BYTES_OF_A_TOKEN + MAX_BYTES
        newest: list[JSON] = []
        for segment in reversed(segments):
            async for item in self._newest(project, segment):
                newest.append(item)
                if item["type"] == "compaction" and self._sealer.unseal(project, item) is not None:
                    return newest[::-1]
                room -= len(await large_json.dumps(item))
                if room < 0:
                    if truncates:
                        return newest[::-1]
                    raise ContextTooLong
        return newest[::-1]

    async def _newest(self, project: str, segment: JSON) -> AsyncIterator[JSON]:
        if "conversation" in segment:
            if segment.get("until", "") is None:  # it was empty
                return
            id = segment["conversation"]
            async for item in newest_items(self._store, project, id, until=segment.get("until")):
                yield item
            return
        async for response in self._chain(project, segment):
            for item in reversed(without_cut_off(response.value["output"])):
                yield item
            for item in reversed(response.state["extra"][INPUT]):
                yield item

    async def _chain(self, project: str, segment: JSON) -> AsyncIterator[Document]:
        """Yield the responses of a chain up to the segment's, the newest first."""
        last = await self._store.get(Key(project, RESPONSES, segment["until"]))
        if last is not None:
            yield last
        async for page in pages(self._store, project, RESPONSES, segment["chain"], after=last, order="desc"):
            for document in page:
                if document.position < segment["position"]:  # where the last one was deleted
                    yield document
