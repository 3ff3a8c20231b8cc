"""Distilling leaves the interface as it was, and nothing else."""

from pathlib import Path

import pytest

from spec.distil import distil, distilled, lock_line
from spec.edition import load
from spec.errors import InvalidSpec
from spec.normalize import normalize
from spec.reading import parse

UPSTREAM = b"""
openapi: 3.1.0
info: {title: T, version: "2", description: long, contact: {name: x}}
servers: [{url: "https://api.example/v1", description: d}]
tags: [{name: A, description: d}]
x-oaiMeta: {groups: []}
webhooks: {w: {post: {}}}
paths:
  /a:
    get:
      operationId: a
      summary: s
      description: d
      x-oaiMeta: {name: n}
      parameters: [{name: q, in: query, description: d, example: 1, schema: {type: integer, description: d}}]
      responses:
        "200":
          description: ok
          headers: {X: {schema: {type: string}}}
          content: {application/json: {examples: {e: 1}, schema: {$ref: "#/components/schemas/A"}}}
components:
  schemas:
    A:
      title: t
      type: object
      properties:
        title: {type: string, description: d, examples: [a]}
        description: {type: string, title: t}
        example: {type: string, enum: [description, summary], default: title}
      x-oaiMeta: {example: "{}"}
"""


def test_prose_is_removed_and_the_interface_stays() -> None:
    schema = parse(distilled(parse(UPSTREAM, "u")), "d")["components"]["schemas"]["A"]
    assert schema == {
        "type": "object",
        "properties": {
            "title": {"type": "string"},
            "description": {"type": "string"},
            "example": {"type": "string", "enum": ["description", "summary"], "default": "title"},
        },
    }
    text = distilled(parse(UPSTREAM, "u")).decode()
    assert "webhooks" not in text
    assert "long" not in text


def test_an_edition_and_upstreams_file_are_served_alike(tmp_path: Path) -> None:
    upstream, edition = tmp_path / "up.yaml", tmp_path / "2020-01-01.yaml"
    upstream.write_bytes(UPSTREAM)
    distil(upstream, edition)
    assert load(str(edition), None).document == load(str(upstream), None).document


def test_distilling_again_changes_nothing() -> None:
    once = distilled(parse(UPSTREAM, "u"))
    assert distilled(parse(once, "d")) == once
    assert distilled(parse(UPSTREAM, "u")) == once


def test_every_shipped_edition_is_as_the_tool_writes_it() -> None:
    for path in sorted((Path(distil.__code__.co_filename).parent / "editions").glob("*.yaml")):
        content = path.read_bytes()
        assert distilled(parse(content, path.name)) == content


def test_a_file_that_could_not_be_served_is_not_distilled(tmp_path: Path) -> None:
    upstream = tmp_path / "up.yaml"
    upstream.write_bytes(UPSTREAM.replace(b"type: integer", b"type: int"))
    with pytest.raises(InvalidSpec, match="unknown type 'int'"):
        distil(upstream, tmp_path / "edition.yaml")
    assert not (tmp_path / "edition.yaml").exists()


def test_an_edition_normalizes_like_upstreams_file() -> None:
    document = parse(UPSTREAM, "u")
    assert normalize(parse(distilled(document), "d"), "d") == normalize(document, "u")


def test_a_lock_line_names_both_files() -> None:
    line = lock_line("2020-01-01", "abc", b"up", b"here")
    name, revision, *hashes = line.split()
    assert (name, revision) == ("2020-01-01", "abc")
    assert [len(one) for one in hashes] == [64, 64]
