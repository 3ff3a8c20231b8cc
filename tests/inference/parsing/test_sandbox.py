import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from inference.errors import DocumentError
from inference.parsing import sandbox as sandbox_module
from inference.parsing.chunking import AUTO
from inference.parsing.sandbox import Sandbox
from tests.inference.parsing import documents
from tests.inference.retrieval.library import pieces, until


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    sandbox = Sandbox()
    yield sandbox
    await sandbox.close()


async def text_of(sandbox: Sandbox, data: bytes, filename: str) -> str:
    parsed = await sandbox.parse("p", pieces(data, 500_000), filename, AUTO)
    try:
        return parsed.text()
    finally:
        parsed.close()


async def failure_of(sandbox: Sandbox, data: bytes, filename: str) -> DocumentError:
    with pytest.raises(DocumentError) as caught:
        await text_of(sandbox, data, filename)
    return caught.value


TYPES = [
    ".c",
    ".cpp",
    ".cs",
    ".css",
    ".csv",
    ".go",
    ".java",
    ".js",
    ".json",
    ".md",
    ".php",
    ".py",
    ".rb",
    ".sh",
    ".tex",
    ".ts",
    ".txt",
    ".yaml",
    ".log",
]


async def test_plain_text_of_every_type_is_unchanged(sandbox: Sandbox) -> None:
    text = "first line\r\nsecond: “ünïcode” 🦄\n\tthird"
    for suffix in (*TYPES, ""):
        assert await text_of(sandbox, text.encode(), f"file{suffix}") == text


@pytest.mark.parametrize("encoding", ["ascii", "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
async def test_every_encoding_that_openai_supports_is_read(sandbox: Sandbox, encoding: str) -> None:
    text = "Plain words, " + ("" if encoding == "ascii" else "größer, ") + "and more."
    assert await text_of(sandbox, text.encode(encoding), "a.txt") == text


async def test_office_documents_html_and_pdf_give_their_text(sandbox: Sandbox) -> None:
    cells = [["Name", "Price"], ["Tea", "3"]]
    assert await text_of(sandbox, documents.word("One.", "Two.", cells=cells), "a.docx") == (
        "One.\nTwo.\nName\tPrice\nTea\t3\n"
    )
    shown = await text_of(sandbox, documents.slides("First", "Second", notes="Say this."), "A.PPTX")
    assert shown == "First\nSay this.\n\nSecond\nSay this.\n\n"
    prices = documents.sheet({(0, 0): "Tea", (0, 1): 3.5, (2, 0): "Coffee"})
    assert await text_of(sandbox, prices, "a.xlsx") == "Prices\nTea\t3.5\nCoffee\n\n"
    assert (await text_of(sandbox, documents.pdf("Page one", "Page two"), "a.pdf")).split("\n\n") == [
        "Page one",
        "Page two",
        "",
    ]
    html = b"<!doctype html><title>T</title><style>p{}</style><p>Some <b>bold</b> text.<p>More.<script>x()</script>"
    assert (await text_of(sandbox, html, "a.html")).split() == ["T", "Some", "bold", "text.", "More."]


@pytest.mark.parametrize(
    ("data", "name", "code", "reason"),
    [
        (lambda: b"", "a.txt", "invalid_file", "no text"),
        (lambda: b" \n\t", "a.md", "invalid_file", "no text"),
        (lambda: "naïve".encode("latin-1"), "a.txt", "invalid_file", "not UTF-8"),
        (lambda: b"text\0with\0nul", "a.txt", "invalid_file", "not UTF-8"),
        (lambda: b"\xff\xfe\x00\xd8", "a.txt", "invalid_file", "not UTF-8"),
        (lambda: documents.pdf("text"), "a.docx", "invalid_file", "not an Office document"),
        (lambda: documents.word("text"), "a.pdf", "invalid_file", "not a PDF"),
        (lambda: documents.word("text"), "a.xlsx", "invalid_file", "does not match"),
        (lambda: documents.word("text"), "a.txt", "invalid_file", "not UTF-8"),
        (lambda: documents.word("text"), "a.zip", "unsupported_file", ".zip"),
        (lambda: b"\xd0\xcf\x11\xe0", "a.doc", "unsupported_file", ".doc"),
        (lambda: documents.pdf("text")[:300], "a.pdf", "invalid_file", "cannot be read"),
        (lambda: documents.pdf("text", password="secret"), "a.pdf", "invalid_file", "encrypted"),
        (lambda: documents.pdf("", ""), "a.pdf", "invalid_file", "no text"),
        (documents.billion_laughs, "a.docx", "invalid_file", "cannot be read"),
        (documents.zip_bomb, "a.docx", "invalid_file", "unpacks to more"),
        (documents.lying_zip_bomb, "a.docx", "invalid_file", "cannot be read"),
        (
            lambda: documents.sheet({(0, 0): "a", (1_048_575, 16_383): "z"}),
            "a.xlsx",
            "invalid_file",
            "more memory",
        ),
    ],
)
async def test_a_file_without_readable_text_fails_with_its_reason(
    sandbox: Sandbox, data: object, name: str, code: str, reason: str
) -> None:
    assert callable(data)
    error = await failure_of(sandbox, data(), name)
    assert error.code == code
    assert reason in error.message


async def test_an_external_entity_is_not_read(sandbox: Sandbox) -> None:
    try:
        text = await text_of(sandbox, documents.outside_entity(), "a.docx")
    except DocumentError:
        return
    assert "root:" not in text


async def test_a_pdf_of_ten_thousand_pages_and_a_table_of_a_million_columns_are_read(
    sandbox: Sandbox,
) -> None:
    text = await text_of(sandbox, documents.pdf(*("Page" for _ in range(10_000))), "a.pdf")
    assert text.count("Page") == 10_000
    columns = ",".join(map(str, range(1_000_000)))
    assert await text_of(sandbox, columns.encode(), "a.csv") == columns


async def test_a_file_that_takes_too_long_is_stopped_and_the_next_one_is_read(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox_module, "CPU_SECONDS", 1)
    slow, quick = await asyncio.gather(
        failure_of(sandbox, b"word " * 7_000_000, "a.html.txt"),
        text_of(sandbox, b"quick", "b.txt"),
    )
    assert "takes longer than 1 s" in slow.message
    assert quick == "quick"


async def test_a_killed_parser_process_is_replaced(sandbox: Sandbox) -> None:
    assert await text_of(sandbox, b"one", "a.txt") == "one"
    parser = sandbox._parser
    assert parser is not None
    os.kill(parser._process.pid, signal.SIGKILL)

    async def gone() -> bool:
        return not parser.alive

    await until(gone)
    assert await text_of(sandbox, b"two", "a.txt") == "two"


async def test_the_parser_shares_no_files_or_secrets_with_the_server(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    with (tmp_path / "database").open("wb") as database:
        os.set_inheritable(database.fileno(), True)
        await text_of(sandbox, b"one", "a.txt")
        assert sandbox._parser is not None
        process = Path("/proc") / str(sandbox._parser._process.pid)
        assert b"sk-secret" not in (process / "environ").read_bytes()
        assert str(tmp_path / "database") not in [str(path.readlink()) for path in (process / "fd").iterdir()]


async def test_an_idle_parser_process_ends(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox_module, "IDLE_SECONDS", 0.05)
    await text_of(sandbox, b"one", "a.txt")
    parser = sandbox._parser
    assert parser is not None

    async def ended() -> bool:
        return parser._process.returncode is not None

    await until(ended)
    assert await text_of(sandbox, b"two", "a.txt") == "two"


async def test_the_memory_of_all_files_together_is_bounded() -> None:
    sandbox = Sandbox(memory=20_000_000)
    try:
        failure = await failure_of(sandbox, b"a line of text\n" * 2_500_000, "a.txt")
        assert "more memory" in failure.message
        assert await text_of(sandbox, b"the next one", "a.txt") == "the next one"
    finally:
        await sandbox.close()
