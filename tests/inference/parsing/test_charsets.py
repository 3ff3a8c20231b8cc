"""A text in a legacy charset is read by the charset that it, or its upload, declares."""

import io
from collections.abc import AsyncIterator

import pytest

from inference.errors import DocumentError
from inference.parsing.chunking import AUTO
from inference.parsing.formats import extract
from inference.parsing.sandbox import Sandbox
from tests.inference.retrieval.library import pieces


def text_of(data: bytes, suffix: str, charset: str = "") -> str:
    return extract(io.BytesIO(data), suffix, charset).strip()


DECLARED = {
    "a page's charset": ("<meta charset='iso-8859-1'><p>café", "cp1252", ".html", "café"),
    "ISO-8859-1 is read as windows-1252": ("<META CHARSET=ISO-8859-1>“5 €”", "cp1252", ".htm", "“5 €”"),
    "a page's http-equiv": (
        '<meta http-equiv="Content-Type" content="text/html; charset=windows-1252"><p>naïve €',
        "cp1252",
        ".html",
        "naïve €",
    ),
    "a label that Python does not know": ("<meta charset=x-sjis><p>日本", "cp932", ".html", "日本"),
    "a superset of the declared charset": ("<meta charset=gb2312><p>镕", "gb18030", ".html", "镕"),
    "escapes that are valid UTF-8": ("<meta charset=iso-2022-jp><p>日本", "iso2022_jp", ".html", "日本"),
    "XHTML's declaration": (
        '<?xml version="1.0" encoding="ISO-8859-15"?><html><body>10 €</body></html>',
        "iso8859-15",
        ".xhtml",
        "10 €",
    ),
    "XML's declaration": (
        "<?xml version='1.0' encoding='koi8-r'?><a>Привет</a>",
        "koi8-r",
        ".xml",
        "<?xml version='1.0' encoding='koi8-r'?><a>Привет</a>",
    ),
}


@pytest.mark.parametrize("case", DECLARED)
def test_a_file_is_read_by_the_charset_it_declares(case: str) -> None:
    text, codec, suffix, shown = DECLARED[case]
    assert text_of(text.encode(codec), suffix) == shown


@pytest.mark.parametrize("suffix", [".txt", ".csv", ".html", ".json"])
def test_a_file_is_read_by_the_charset_of_its_upload(suffix: str) -> None:
    assert text_of("café".encode("cp1252"), suffix, "latin1") == "café"


def test_the_charset_of_the_upload_precedes_that_of_the_file() -> None:
    assert text_of("<meta charset=koi8-r><p>café".encode("cp1252"), ".html", "windows-1252") == "café"


@pytest.mark.parametrize("charset", ["", "windows-1252", "utf-8", "nonsense"])
def test_utf_8_is_read_as_such_whatever_is_declared(charset: str) -> None:
    assert text_of("<meta charset=iso-8859-1><p>café".encode(), ".html", charset) == "café"


@pytest.mark.parametrize("charset", ["", "utf-8", "utf-7", "unicode_escape", "idna", "rot13", "nonsense"])
def test_a_legacy_text_without_a_known_charset_is_refused(charset: str) -> None:
    with pytest.raises(DocumentError, match="declares no other charset"):
        text_of("café".encode("cp1252"), ".txt", charset)


def test_a_charset_in_a_comment_declares_nothing() -> None:
    with pytest.raises(DocumentError, match="declares no other charset"):
        text_of("<!-- <meta charset=koi8-r> --><p>café".encode("cp1252"), ".html")


def test_a_byte_that_the_charset_leaves_undefined_is_replaced() -> None:
    assert text_of(b"<meta charset=windows-1252><p>caf\xe9 \x81", ".html") == "café \ufffd"


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    sandbox = Sandbox()
    yield sandbox
    await sandbox.close()


@pytest.mark.parametrize("codec", ["koi8-r", "shift_jis", "gb18030"])
async def test_the_confined_process_reads_legacy_charsets(sandbox: Sandbox, codec: str) -> None:
    parsed = await sandbox.parse("p", pieces("Привет".encode(codec)), "a.txt", AUTO, charset=codec)
    try:
        assert parsed.text() == "Привет"
    finally:
        parsed.close()
