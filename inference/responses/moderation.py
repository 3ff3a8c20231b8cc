"""Moderation of a response: what a moderation model says of its input and its output."""

import asyncio
from collections.abc import Sequence
from typing import Any

from inference.engine.items import Call, Message, Turn
from inference.errors import InferenceError, ProviderError
from inference.gateway import Credentials, Gateway
from persistence.types import JSON

_TEXTS = frozenset({"input_text", "output_text", "text"})


async def moderated(
    gateway: Gateway, model: str, input: list[JSON], turns: Sequence[Turn], credentials: Credentials | None
) -> JSON:
    """Return the results for a response's input items and for what its turns said; failures are results."""
    parts = (input_parts(input), output_parts(turns))
    found = await asyncio.gather(*(_result(gateway, model, each, credentials) for each in parts))
    return dict(zip(("input", "output"), found, strict=True))


def input_parts(items: list[JSON]) -> list[JSON]:
    """Return the texts and images of input items, as moderations take them."""
    parts: list[JSON] = []
    for item in items:
        for member in ("content", "output"):
            value = item.get(member)
            if isinstance(value, str):
                parts.append(_text(value))
            for part in value if isinstance(value, list) else ():
                if part.get("type") in _TEXTS:
                    parts.append(_text(part["text"]))
                elif part.get("image_url"):
                    parts.append({"type": "image_url", "image_url": {"url": part["image_url"]}})
    return [part for part in parts if part.get("text") != ""]


def output_parts(turns: Sequence[Turn]) -> list[JSON]:
    """Return the texts of turns: messages, refusals, arguments of calls."""
    texts: list[str] = []
    for item in (each for turn in turns for each in turn.items):
        if isinstance(item, Message):
            texts += [str(item.text), str(item.refusal)]
        elif isinstance(item, Call):
            texts.append(str(item.arguments))
    return [_text(text) for text in texts if text]


def _text(text: str) -> JSON:
    return {"type": "text", "text": text}


async def _result(gateway: Gateway, model: str, parts: list[JSON], credentials: Credentials | None) -> JSON:
    if not parts:
        return _error("empty", "There is no text and no image to moderate.")
    has_images = any(part["type"] != "text" for part in parts)
    input: Any = parts if has_images else "\n".join(part["text"] for part in parts)
    try:
        answer = await gateway.moderate({"model": model, "input": input}, credentials)
    except InferenceError as exc:
        code = exc.body.get("code") if isinstance(exc, ProviderError) else None
        return _error(str(code or "server_error"), str(exc))
    results = answer.get("results")
    if not isinstance(results, list) or not results or not all(isinstance(each, dict) for each in results):
        return _error("server_error", "The moderation model's answer cannot be read.")
    return _joined(str(answer.get("model") or model), results)


def _error(code: str, message: str) -> JSON:
    return {"type": "error", "code": code, "message": message}


def _joined(model: str, results: list[JSON]) -> JSON:
    """Return one result for several: what is flagged in one is flagged."""
    categories: dict[str, bool] = {}
    scores: dict[str, float] = {}
    kinds: dict[str, list[str]] = {}
    for result in results:
        for name, value in (result.get("categories") or {}).items():
            categories[name] = categories.get(name, False) or bool(value)
        for name, value in (result.get("category_scores") or {}).items():
            scores[name] = max(scores.get(name, 0.0), float(value or 0))
        for name, value in (result.get("category_applied_input_types") or {}).items():
            kinds[name] = sorted({*kinds.get(name, ()), *(value or ())})
    return {
        "type": "moderation_result",
        "model": model,
        "flagged": any(bool(result.get("flagged")) for result in results),
        "categories": categories,
        "category_scores": scores,
        "category_applied_input_types": kinds or {name: ["text"] for name in categories},
    }
