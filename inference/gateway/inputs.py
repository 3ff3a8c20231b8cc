"""Split the inputs of one request over several, where its provider takes fewer at once."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from inference import tokens
from inference.errors import ProviderRejected
from inference.gateway import failures
from inference.gateway.paths import EMBEDDINGS
from inference.gateway.requests import is_openai
from inference.gateway.routing.targets import Target
from persistence.types import JSON

Ask = Callable[[Any], Awaitable[JSON]]

AT_ONCE = 4
"""Requests that one request is split into and that are under way at the same time."""

LONG_TEXT = 256 * 1024
"""Characters of a text whose tokens are estimated: every embedding model refuses it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a provider takes in one request: None for any number."""

    inputs: int | None = None
    tokens: int | None = None


OPENAI = Limits(2048, 300_000)
MODERATION = Limits(32)
LITELLM = Limits(96)
"""For providers of litellm's that are not in the table: Cohere's limit, one of the smallest."""

LITELLM_LIMITS = {
    "azure": OPENAI,
    "gemini": Limits(100),
    "huggingface": Limits(32),
    "jina_ai": Limits(512),
    "mistral": Limits(tokens=16_384),
    "ollama": Limits(),
    "openai": OPENAI,
    "vertex_ai": Limits(250, 20_000),
    "voyage": Limits(1000, 120_000),
}
"""The limits of embeddings by litellm's provider, the first part of its model's name."""


def limits(target: Target, path: str) -> Limits:
    """Return the limits of a route, or else of its provider."""
    known = _known_limits(target, path)
    return Limits(target.max_inputs or known.inputs, target.max_input_tokens or known.tokens)


def _known_limits(target: Target, path: str) -> Limits:
    if path != EMBEDDINGS:
        return MODERATION
    if target.wire == "litellm":
        return LITELLM_LIMITS.get(target.model.partition("/")[0], LITELLM)
    return OPENAI if is_openai(target) else Limits()


@dataclass(slots=True)
class SplitRequest:
    """A request's answers so far, by target and part, so that a retry asks for the missing ones only."""

    path: str
    given: Any
    _answers: dict[tuple[Target, int], JSON] = field(default_factory=dict)

    async def answers(self, target: Target, ask: Ask) -> list[JSON]:
        """Return the answers of all parts, in order; the first part that fails fails all."""
        parts = await split(self.given, limits(target, self.path))
        if len(parts) == 1:
            return [await ask(self.given)]
        slots = asyncio.Semaphore(AT_ONCE)

        async def answer(place: int, part: Any) -> None:
            async with slots:
                self._answers[target, place] = await ask(part)

        missing = [(place, part) for place, part in enumerate(parts) if (target, place) not in self._answers]
        try:
            async with asyncio.TaskGroup() as group:
                for place, part in missing:
                    group.create_task(answer(place, part))
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from None
        return [self._answers[target, place] for place in range(len(parts))]


def is_list(given: Any) -> bool:
    """Return whether an input is a list of inputs; a list of integers is one text's tokens."""
    return isinstance(given, list) and bool(given) and not isinstance(given[0], int)


def count(given: Any) -> int:
    """Return how many embeddings an input asks for."""
    return len(given) if is_list(given) else 1


async def split(given: Any, limit: Limits) -> list[Any]:
    """Return the parts of an input, in order; parts of one moderated message (objects) stay together."""
    if not is_list(given) or isinstance(given[0], dict):
        return [given]
    sizes = await _sizes(given, limit.tokens)
    most_inputs, most_tokens = limit.inputs or len(given), limit.tokens or 0
    parts: list[list[Any]] = [[]]
    total = 0
    for item, size in zip(given, sizes, strict=True):
        if parts[-1] and (len(parts[-1]) == most_inputs or total + size > most_tokens > 0):
            parts.append([])
            total = 0
        parts[-1].append(item)
        total += size
    return parts


async def _sizes(given: Sequence[Any], limit: int | None) -> list[int]:
    """Return the tokens of each input, which are counted only if all may be more than `limit`."""
    if limit is None or sum(map(_most_tokens, given)) <= limit:
        return [0] * len(given)
    return await asyncio.to_thread(lambda: [*map(_size, given)])


def _most_tokens(item: Any) -> int:
    """Return how many tokens an input has at most: as many as it has bytes."""
    if not isinstance(item, str):
        return len(item)
    return len(item) if item.isascii() else 4 * len(item)


def _size(item: Any) -> int:
    is_short = isinstance(item, str) and len(item) <= LONG_TEXT
    return tokens.count(item) if is_short else _most_tokens(item)


def texts(given: Any) -> list[str]:
    """Return an input as texts; token ids are those of cl100k, as for OpenAI's models."""
    items = given if is_list(given) else [given]
    try:
        return [item if isinstance(item, str) else tokens.decode(item) for item in items]
    except ValueError as exc:
        raise ProviderRejected.invalid(f"Invalid 'input': {exc}.", "input", "invalid_value") from exc


def joined_embeddings(answers: Sequence[JSON]) -> JSON:
    """Return the embeddings of all parts, numbered through, with the sum of their usage."""
    if len(answers) == 1:
        return answers[0]
    data = [item for answer in answers for item in answer["data"]]
    for index, item in enumerate(data):
        item["index"] = index
    return {**answers[0], "data": data, "usage": _sum([answer["usage"] for answer in answers])}


def joined_moderations(given: Any, answers: Sequence[JSON]) -> JSON:
    """Return the results of all parts; raise ProviderBroken if there is not one for each input."""
    if len(answers) == 1:
        return answers[0]
    lists = [answer.get("results") for answer in answers]
    results = [result for one in lists if isinstance(one, list) for result in one]
    if len(results) != len(given):
        raise failures.unreadable(f"it does not hold {len(given)} results")
    usages = [answer["usage"] for answer in answers if isinstance(answer.get("usage"), dict)]
    return {**answers[0], "results": results, **({"usage": _sum(usages)} if usages else {})}


def _sum(usages: Sequence[JSON]) -> JSON:
    """Return the sums of the counts that all have; other members belong to one part alone."""
    names = [name for name, value in usages[0].items() if type(value) is int]
    return {name: sum(usage.get(name) or 0 for usage in usages) for name in names}
