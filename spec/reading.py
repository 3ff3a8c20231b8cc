"""Reads an openapi.yaml or .json as plain JSON data, by the rules of YAML 1.2.

Two differences from PyYAML: anchors may be defined twice, which YAML allows and PyYAML refuses, and
words that only YAML 1.1 reads as booleans, dates or octal numbers (`on`, `2024-01-01`, `010`) stay
text.
"""

import json
import re
from pathlib import Path
from typing import Any

import yaml
from yaml.composer import Composer, ComposerError
from yaml.events import AliasEvent, NodeEvent

from spec.errors import InvalidSpec
from spec.types import JSON


def _core_schema() -> dict[str, list[tuple[str, re.Pattern[str]]]]:
    rules = (
        ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
        ("int", r"[-+]?[0-9]+|0x[0-9a-fA-F]+", "-+0123456789"),
        ("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", "-+.0123456789"),
        ("null", r"~|null|Null|NULL|", "~nN"),
        ("merge", "<<", "<"),
    )
    resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {"": []}
    for name, pattern, first in rules:
        rule = (f"tag:yaml.org,2002:{name}", re.compile(f"^(?:{pattern})$"))
        for character in first:
            resolvers.setdefault(character, []).append(rule)
        if name == "null":
            resolvers[""].append(rule)
    return resolvers


class _Loader(yaml.CSafeLoader):
    yaml_implicit_resolvers = _core_schema()

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        text = self.construct_scalar(node)
        return int(text, 16) if text.startswith("0x") else int(text)


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)


class _LenientLoader(Composer, _Loader):
    """A slower loader that allows an anchor to be defined again."""

    def __init__(self, stream: bytes) -> None:
        _Loader.__init__(self, stream)
        Composer.__init__(self)

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()
        if isinstance(event, NodeEvent) and not isinstance(event, AliasEvent):
            self.anchors.pop(event.anchor, None)
        return super().compose_node(parent, index)


def read(path: Path) -> bytes:
    """Return the bytes of a file; raise InvalidSpec if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as exc:
        raise InvalidSpec(str(path), "file", exc.strerror or str(exc)) from exc


def parse(raw: bytes, file: str) -> JSON:
    """Return a document as plain JSON data without aliases; raise InvalidSpec with line and column."""
    try:
        document = json.loads(raw) if raw.lstrip()[:1] == b"{" else _parse_yaml(raw)
        plain = json.loads(json.dumps(document, allow_nan=False))
    except json.JSONDecodeError as exc:
        place = f"line {exc.lineno}, column {exc.colno}"
        raise InvalidSpec(file, place, f"not JSON: {exc.msg}") from exc
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "file"
        raise InvalidSpec(file, place, f"not YAML: {exc.problem or exc.context}") from exc
    except yaml.YAMLError as exc:
        raise InvalidSpec(file, "file", f"not YAML: {exc}") from exc
    except (UnicodeDecodeError, ValueError, TypeError, RecursionError) as exc:
        raise InvalidSpec(file, "file", f"not JSON data: {exc}") from exc
    if not isinstance(plain, dict):
        found = "empty" if plain is None else f"a {type(plain).__name__}"
        raise InvalidSpec(file, "file", f"not an OpenAPI document: it is {found}, not a mapping")
    return plain


def _parse_yaml(raw: bytes) -> Any:
    try:
        return yaml.load(raw, _Loader)  # noqa: S506 -- a safe loader
    except ComposerError as exc:
        if "duplicate anchor" not in str(exc):
            raise
    return yaml.load(raw, _LenientLoader)  # noqa: S506 -- a safe loader
