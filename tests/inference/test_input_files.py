"""Files of a request reach a model as text where they are text, and as files elsewhere."""

import base64
from collections.abc import AsyncIterator

import pytest

from inference import input_files
from inference.input_files import InputFiles
from persistence.store import Insert, Key, Store
from tests.fixtures.stores import store

__all__ = ["store"]

PDF = b"%PDF-1.7 x"


async def uploaded(store: Store, content: bytes, filename: str) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield content

    await store.write_content("p", "content-1", pieces())
    file = {"id": "file-1", "object": "file", "filename": filename, "bytes": len(content)}
    await store.write(Insert(Key("p", "files", "file-1"), file, state={"content": "content-1"}))


def encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()


@pytest.mark.parametrize("prefix", ["", "data:text/csv;base64,"])
async def test_text_in_a_request_is_a_text(store: Store, prefix: str) -> None:
    part = await InputFiles(store, "p").file_by_data(prefix + encoded("a,é".encode()), "a.csv")

    assert part == {"type": "text", "text": "[File a.csv]\na,é"}


@pytest.mark.parametrize("prefix", ["", "data:application/pdf;base64,"])
async def test_a_pdf_in_a_request_is_a_file(store: Store, prefix: str) -> None:
    part = await InputFiles(store, "p").file_by_data(prefix + encoded(PDF), "a.pdf")

    url = f"data:application/pdf;base64,{encoded(PDF)}"
    assert part == {"type": "file", "file": {"file_data": url, "filename": "a.pdf"}}


async def test_what_is_no_base64_is_left_to_the_provider(store: Store) -> None:
    part = await InputFiles(store, "p").file_by_data("data:application/pdf;base64,???", "a.pdf")

    assert part["file"]["file_data"] == "data:application/pdf;base64,???"


async def test_an_uploaded_text_is_a_text(store: Store) -> None:
    await uploaded(store, b"Green tea.", "tea.md")

    assert await InputFiles(store, "p").file_by_id("file-1") == {
        "type": "text",
        "text": "[File tea.md]\nGreen tea.",
    }


async def test_an_uploaded_pdf_is_a_file(store: Store) -> None:
    await uploaded(store, PDF, "tea.pdf")

    part = await InputFiles(store, "p").file_by_id("file-1")

    assert part["file"] == {
        "file_data": f"data:application/pdf;base64,{encoded(PDF)}",
        "filename": "tea.pdf",
    }


async def test_a_file_of_another_project_is_a_deleted_one(store: Store) -> None:
    await uploaded(store, PDF, "tea.pdf")

    assert await InputFiles(store, "q").file_by_id("file-1") == {
        "type": "text",
        "text": "[The file file-1 was deleted.]",
    }


async def test_files_beyond_the_limit_are_left_out(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(input_files, "MAX_BYTES", 20)
    files = InputFiles(store, "p")

    assert (await files.file_by_data(encoded(PDF), "a.pdf"))["type"] == "file"
    assert await files.file_by_data(encoded(PDF), "b.pdf") == input_files.FILE_LEFT_OUT
