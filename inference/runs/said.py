"""What an open message says: from pieces to content, and back from the log."""

from typing import Any

from inference.runs import objects
from inference.runs.turns import RefusalArrived, TextArrived

JSON = dict[str, Any]


class Said:
    """What the open message says so far."""

    def __init__(self) -> None:
        self.text = ""
        self.refusal = ""
        self.annotations: list[JSON] = []

    def add(self, event: TextArrived | RefusalArrived) -> JSON:
        """Take a piece, and give the part that a delta shows of it."""
        if isinstance(event, RefusalArrived):
            self.refusal += event.text
            return {"index": 1 if self.text else 0, "type": "refusal", "refusal": event.text}
        first = not self.text
        annotations = [
            {"index": i, **each} for i, each in enumerate(event.annotations, len(self.annotations))
        ]
        self.text += event.text
        self.annotations += event.annotations
        return _text_delta(event.text, annotations, first=first)

    @classmethod
    def of(cls, content: list[JSON]) -> "Said":
        """What a message says that has ended."""
        said = cls()
        for part in content:
            if part["type"] == "refusal":
                said.refusal = part["refusal"]
            else:
                said.text, said.annotations = part["text"]["value"], part["text"]["annotations"]
        return said

    def parts_after(self, told: "Said") -> list[JSON]:
        """What it says beyond `told`, as the parts of one delta each."""
        parts: list[JSON] = []
        text, refusal = self.text[len(told.text) :], self.refusal[len(told.refusal) :]
        if text:
            new = self.annotations[len(told.annotations) :]
            annotations = [{"index": i, **each} for i, each in enumerate(new, len(told.annotations))]
            parts.append(_text_delta(text, annotations, first=not told.text))
        if refusal:
            parts.append({"index": 1 if self.text else 0, "type": "refusal", "refusal": refusal})
        return parts

    def content(self, *, whole: bool) -> list[JSON]:
        """The message's content; a whole answer that says nothing is an empty text."""
        parts: list[JSON] = []
        if self.text or (whole and not self.refusal):
            parts.append(objects.text_part(self.text, self.annotations))
        if self.refusal:
            parts.append({"type": "refusal", "refusal": self.refusal})
        return parts

    def read_delta(self, part: JSON) -> None:
        """Take a delta's part back from the log."""
        if part["type"] == "refusal":
            self.refusal += part["refusal"]
            return
        self.text += part["text"]["value"]
        for annotation in part["text"].get("annotations", ()):
            self.annotations.append({k: v for k, v in annotation.items() if k != "index"})


def _text_delta(text: str, annotations: list[JSON], *, first: bool) -> JSON:
    """The first delta of a text has the key `annotations`, later ones only where there are some."""
    value: JSON = {"value": text}
    if annotations or first:
        value["annotations"] = annotations
    return {"index": 0, "type": "text", "text": value}
