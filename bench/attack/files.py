"""Attacks by files: documents that are costly to read."""

import io
import time
import zipfile
from collections.abc import Callable, Sequence

from bench.attack.arena import Arena, AttackWorked, all_of, said
from bench.load import BenchFailed
from bench.measuring import MEGABYTE

TYPES = (
    '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    '<Override PartName="/word/document.xml" ContentType='
    '"application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"/></Types>'
)
RELATIONS = (
    '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="rId1" '
    'Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument" '
    'Target="word/document.xml"/></Relationships>'
)
WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
MOST_SECONDS = 10.0
"""In which a small file of another project has to be ingested."""

ROW = '<w:tr><w:tc><w:tcPr><w:gridSpan w:val="100000"/></w:tcPr><w:p><w:r><w:t>cell</w:t></w:r></w:p></w:tc></w:tr>'


def wide_tables(arena: Arena) -> Callable[[], str]:
    """Ingest 8 documents with tables of 1,000 rows that span 100,000 columns, then another project's 5 bytes."""
    return lambda: ingested(arena, docx([ROW] * 1000), "wide.docx", 8)


def many_small_files(arena: Arena) -> Callable[[], str]:
    """Ingest 500 small files, then another project's 5 bytes."""
    return lambda: ingested(arena, b"A few words of text. " * 50, "small.txt", arena.rig.scaled(500))


def zip_bomb(arena: Arena) -> Callable[[], str]:
    """Ingest 8 documents of 1 GB when unpacked, then another project's 5 bytes."""
    bomb = docx([" " * MEGABYTE] * arena.rig.scaled(1000))
    return lambda: ingested(arena, bomb, "bomb.docx", 8)


def docx(table: Sequence[str]) -> bytes:
    """Return a document of one table, whose XML is given in pieces."""
    head = f'<?xml version="1.0" encoding="UTF-8"?><w:document xmlns:w="{WORD}"><w:body><w:tbl>'
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", TYPES)
        archive.writestr("_rels/.rels", RELATIONS)
        with archive.open("word/document.xml", "w") as document:
            for piece in (head, *table, "</w:tbl></w:body></w:document>"):
                document.write(piece.encode())
    return buffer.getvalue()


def ingested(arena: Arena, data: bytes, name: str, count: int) -> str:
    """Ingest files of the attacker, then one of the bystander's; return how long the latter took."""
    store = arena.make("/vector_stores", {})
    added = all_of(lambda number: add(arena, None, store, data, f"{number}-{name}"), count)
    with arena.client(arena.bystander_key) as client:
        theirs = client.post("/vector_stores", json={}).json()["id"]
    began = time.monotonic()
    if (outcome := add(arena, arena.bystander_key, theirs, b"Hello", "five.txt")) != "200":
        raise BenchFailed(f"the other project's file was refused: {outcome}")
    ended = wait(arena, arena.bystander_key, theirs)
    waited = time.monotonic() - began
    attackers = wait(arena, None, store)
    total = time.monotonic() - began
    outcome = (
        f"the other project's file: {ended} in {waited:.1f} s; {attackers} in {total:.0f} s (added: {added})"
    )
    if waited > MOST_SECONDS:
        raise AttackWorked(outcome)
    return outcome


def add(arena: Arena, key: str | None, store: str, data: bytes, name: str) -> str:
    """Upload a file and add it to a vector store."""
    with arena.client(key) as client:
        form = {"purpose": "assistants"}
        uploaded = client.post("/files", data=form, files={"file": (name, data)})
        if uploaded.status_code != 200:
            return said(uploaded)
        return said(client.post(f"/vector_stores/{store}/files", json={"file_id": uploaded.json()["id"]}))


def wait(arena: Arena, key: str | None, store: str) -> str:
    """Wait until nothing of a vector store is in progress, and return the counts."""
    end = time.monotonic() + 600
    with arena.client(key) as client:
        while time.monotonic() < end:
            counts = client.get(f"/vector_stores/{store}").json()["file_counts"]
            if not counts["in_progress"]:
                return ", ".join(
                    f"{count} {name}" for name, count in counts.items() if count and name != "total"
                )
            time.sleep(0.2)
    raise BenchFailed(f"files of {store} are still in progress after 10 minutes: {counts}")
