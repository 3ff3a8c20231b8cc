"""How a summary stands in for the conversation that it replaces."""

from inference.engine.items import Compaction
from persistence.types import JSON

PREFACE = "This is a summary of the conversation until here. Continue from it."
LATEST = "The user's latest message, which came after what the summary covers:"


def compacted(messages: list[JSON], compaction: Compaction) -> list[JSON]:
    """Return what a model reads after a compaction of these messages."""
    system = [message for message in messages if message["role"] == "system"]
    text = summary_text(str(compaction.text), None)
    if compaction.details["latest"] is None:
        return [*system, {"role": "user", "content": text}]
    # One message, as some models' templates want the roles to alternate.
    latest = messages[-1]["content"]
    parts = [{"type": "text", "text": latest}] if isinstance(latest, str) else latest
    return [*system, {"role": "user", "content": [{"type": "text", "text": f"{text}\n\n{LATEST}"}, *parts]}]


def summary_text(summary: str, latest: str | None) -> str:
    """Return the text of the user's message that stands for a compacted conversation."""
    text = f"{PREFACE}\n\n{summary}"
    return text if latest is None else f"{text}\n\n{LATEST}\n\n{latest}"


def content_text(message: JSON) -> str:
    """Return the text of a message; its other parts are named only."""
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] if part["type"] == "text" else f"[{part['type']}]" for part in content)
