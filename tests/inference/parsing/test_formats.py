"""Each format gives every visible word exactly once, and nothing that was deleted."""

import io
import time
from datetime import date, datetime, timedelta

import pytest
import xlsxwriter
from xlsxwriter.worksheet import Worksheet

from inference.errors import DocumentError
from inference.parsing.formats import extract
from tests.inference.parsing import documents
from tests.inference.parsing.documents import cell, paragraph, row, run, table


def text_of(data: bytes, suffix: str) -> str:
    return extract(io.BytesIO(data), suffix)


def controlled(content: str) -> str:
    return f"<w:sdt><w:sdtPr/><w:sdtContent>{content}</w:sdtContent></w:sdt>"


def alternate(choice: str, fallback: str) -> str:
    return (
        f"<mc:AlternateContent><mc:Choice Requires='wps'>{choice}</mc:Choice>"
        f"<mc:Fallback>{fallback}</mc:Fallback></mc:AlternateContent>"
    )


BOX = "<w:txbxContent><w:p><w:r><w:t>boxed</w:t></w:r></w:p></w:txbxContent>"

WORD_CASES = {
    "tracked insertion": (f"<w:p>{run('a ')}<w:ins>{run('new')}</w:ins>{run(' b')}</w:p>", "a new b\n"),
    "tracked deletion": (
        f"<w:p>{run('kept')}<w:del><w:r><w:delText> gone</w:delText></w:r></w:del></w:p>",
        "kept\n",
    ),
    "moved text": (
        f"<w:p><w:moveFrom>{run('moved')}</w:moveFrom></w:p><w:p><w:moveTo>{run('moved')}</w:moveTo></w:p>",
        "\nmoved\n",
    ),
    "block content control": (controlled(paragraph("controlled")), "controlled\n"),
    "inline content control": (f"<w:p>{run('a ')}{controlled(run('choice'))}</w:p>", "a choice\n"),
    "content controls around a row and a cell": (
        table(controlled(row(cell(paragraph("a")), controlled(cell(paragraph("b")))))),
        "a\tb\n",
    ),
    "smart tag": (f"<w:p><w:smartTag>{run('Paris')}</w:smartTag></w:p>", "Paris\n"),
    "simple field": (f'<w:p><w:fldSimple w:instr="DATE">{run("today")}</w:fldSimple></w:p>', "today\n"),
    "complex field": (f"<w:p><w:r><w:instrText>PAGE</w:instrText></w:r>{run('7')}</w:p>", "7\n"),
    "hyperlink": (f"<w:p><w:hyperlink>{run('a link')}</w:hyperlink></w:p>", "a link\n"),
    "text box with its fallback": (
        f"<w:p>{alternate(f'<wps:txbx>{BOX}</wps:txbx>', f'<v:textbox>{BOX}</v:textbox>')}</w:p>",
        "\nboxed\n\n",
    ),
    "fallback alone": (
        f"<w:p><mc:AlternateContent><mc:Fallback>{run('old')}</mc:Fallback></mc:AlternateContent></w:p>",
        "old\n",
    ),
    "nested table": (
        table(row(cell(paragraph("outer") + table(row(cell(paragraph("inner"))))), cell(paragraph("next")))),
        "outer\ninner\n\tnext\n",
    ),
    "merged cells": (
        table(
            row(cell(paragraph("wide"), '<w:gridSpan w:val="3"/>')),
            row(cell(paragraph("tall"), '<w:vMerge w:val="restart"/>'), cell(paragraph("a"))),
            row(cell("<w:p/>", "<w:vMerge/>"), cell(paragraph("b"))),
        ),
        "wide\ntall\ta\n\tb\n",
    ),
    "hidden text": (
        f"<w:p>{run('seen')}<w:r><w:rPr><w:vanish/></w:rPr><w:t>unseen</w:t></w:r></w:p>",
        "seen\n",
    ),
    "formula": ("<w:p><m:oMath><m:r><m:t>x=2</m:t></m:r></m:oMath></w:p>", "x=2\n"),
    "breaks and tabs": (
        f"<w:p>{run('a')}<w:r><w:tab/><w:t>b</w:t><w:br/><w:t>c</w:t></w:r></w:p>",
        "a\tb\nc\n",
    ),
}


@pytest.mark.parametrize("case", WORD_CASES)
def test_word_documents_give_every_visible_word_once(case: str) -> None:
    body, shown = WORD_CASES[case]
    assert text_of(documents.word_body(body + paragraph("end")), ".docx") == f"{shown}end\n"


def test_word_headers_and_footers_are_read_once() -> None:
    shown = text_of(documents.word_with_headers(), ".docx")
    assert shown.split() == ["the", "header", "the", "body", "the", "footer"]


def test_word_footnotes_and_comments_are_read() -> None:
    package = documents.word("the body")
    rels = documents.part_of(package, "word/_rels/document.xml.rels").decode()
    parts = {}
    for name in ("footnotes", "comments"):
        parts[f"word/{name}.xml"] = f"<w:{name} {documents.NAMESPACES}>{paragraph(name)}</w:{name}>".encode()
        link = f'<Relationship Id="x{name}" Type="http://x/{name}" Target="{name}.xml"/>'
        rels = rels.replace("</Relationships>", f"{link}</Relationships>")
    parts["word/_rels/document.xml.rels"] = rels.encode()
    shown = text_of(documents.with_parts(package, parts), ".docx")
    assert shown == "the body\nfootnotes\ncomments\n"


def test_column_spans_are_not_expanded() -> None:
    document = documents.word_with_wide_spans(rows=1_000, span=100_000)
    begun = time.process_time()
    shown = text_of(document, ".docx")
    assert time.process_time() - begun < 2
    assert shown == "".join(f"row{n}\n" for n in range(1_000))


def test_deeply_nested_xml_is_read() -> None:
    body = "<w:sdt><w:sdtContent>" * 900 + paragraph("deep") + "</w:sdtContent></w:sdt>" * 900
    assert "deep" in text_of(documents.word_body(body), ".docx")


def test_slides_give_the_data_of_their_charts() -> None:
    assert text_of(documents.slide_with_chart(), ".pptx").split("\n") == [
        "Harvest",
        "Apples\tPears",
        "Spring\t1.5\t3",
        "Autumn\t20\t40",
        "",
        "",
    ]


def test_slides_give_the_text_of_smartart() -> None:
    points = "".join(
        f"<dgm:pt><dgm:t><a:p><a:r><a:t>{text}</a:t></a:r></a:p></dgm:t></dgm:pt>" for text in ("plan", "do")
    )
    data = f"<dgm:dataModel {documents.NAMESPACES}><dgm:ptLst>{points}</dgm:ptLst></dgm:dataModel>"
    frame = '<p:graphicFrame><a:graphic><a:graphicData><dgm:relIds r:dm="rId9"/></a:graphicData></a:graphic></p:graphicFrame>'
    deck = documents.slide_xml(frame, {"rId9": ("diagramData", "ppt/diagrams/data1.xml", data.encode())})
    assert text_of(deck, ".pptx") == "plan\ndo\n\n"


def test_slides_give_one_branch_of_alternate_content() -> None:
    choice = f"<mc:Choice Requires='a14'>{documents.shape('newer')}</mc:Choice>"
    fallback = f"<mc:Fallback>{documents.shape('older')}</mc:Fallback>"
    deck = documents.slide_xml(f"<mc:AlternateContent>{choice}{fallback}</mc:AlternateContent>")
    assert text_of(deck, ".pptx") == "newer\n\n"


def test_slides_give_grouped_shapes_and_merged_cells_once() -> None:
    def slide_cell(text: str, merged: str = "") -> str:
        return f"<a:tc {merged}><a:txBody><a:p><a:r><a:t>{text}</a:t></a:r></a:p></a:txBody></a:tc>"

    cells = slide_cell("wide", 'gridSpan="2"') + slide_cell("covered", 'hMerge="1"') + slide_cell("last")
    frame = f"<p:graphicFrame><a:tbl><a:tr>{cells}</a:tr></a:tbl></p:graphicFrame>"
    deck = documents.slide_xml(f"<p:grpSp>{documents.shape('grouped')}</p:grpSp>{frame}")
    assert text_of(deck, ".pptx") == "grouped\nwide\tlast\n\n"


def test_forms_and_notes_of_a_pdf_are_read() -> None:
    shown = text_of(documents.form("Ada Lovelace", "Approved, größer"), ".pdf")
    assert shown == "Printed words\nAda Lovelace\nApproved, größer\n\n"


def test_an_unreadable_page_of_a_pdf_is_left_out() -> None:
    whole = documents.pdf("first", "second", "third")
    start = whole.index(b"6 0 obj")
    broken = whole[:start] + whole[start:].replace(b"<< /Type /Page ", b"<< /Type /Font ", 1)
    assert text_of(broken, ".pdf").split() == ["first", "third"]


def _cells(book: xlsxwriter.Workbook, sheet: Worksheet) -> None:
    sheet.write_row(2, 1, [100234, 123456789012345, 1e21, 0.00001, 2.5, True])
    sheet.write_formula(3, 1, "=1/0", None, "#DIV/0!")
    sheet.write_formula(3, 2, "=NA()", None, "#N/A")
    sheet.write_datetime(4, 1, timedelta(hours=30), book.add_format({"num_format": "[h]:mm:ss"}))
    sheet.write_datetime(4, 2, date(2024, 2, 29), book.add_format({"num_format": "yyyy-mm-dd"}))
    noon = datetime(2024, 2, 29, 12, 30)  # noqa: DTZ001  A workbook knows no time zones.
    sheet.write_datetime(4, 3, noon, book.add_format({"num_format": "yyyy-mm-dd hh:mm"}))


def test_cells_of_a_workbook_read_as_they_are_shown() -> None:
    lines = text_of(documents.workbook(_cells), ".xlsx").splitlines()
    assert [line.strip("\t").split("\t") for line in lines if line] == [
        ["Sheet"],
        ["100234", "123456789012345", "1000000000000000000000", "0.00001", "2.5", "TRUE"],
        ["#DIV/0!", "#N/A"],
        ["30:00:00", "2024-02-29", "2024-02-29 12:30:00"],
    ]


def _drawings(book: xlsxwriter.Workbook, sheet: Worksheet) -> None:
    sheet.write_row(0, 0, ["cell", 1])
    sheet.insert_textbox(3, 3, "boxed")
    sheet.write_comment(0, 0, "commented")
    chart = book.add_chart({"type": "column"})
    chart.add_series({"values": "=Sheet!$B$1"})
    chart.set_title({"name": "Charted"})
    sheet.insert_chart(5, 5, chart)


def test_text_boxes_charts_and_comments_of_a_workbook_are_read() -> None:
    words = text_of(documents.workbook(_drawings), ".xlsx").split()
    assert {"boxed", "commented", "Charted"} <= set(words)
    assert words.count("boxed") == 1


HTML_CASES = {
    "<summary>SUM</summary>hid": ["SUM", "hid"],
    "a<br>b<hr>c": ["a", "b", "c"],
    "<button>Save</button><button>Exit</button>": ["Save", "Exit"],
    "<video></video>x<legend>y</legend>z": ["x", "y", "z"],
    "<select><option>one<option>two</select>": ["one", "two"],
    "<table><tr><td>a</td><td>b</td></tr><caption>c</caption></table>": ["a", "b", "c"],
    "<svg><title>logo</title><text>drawn</text></svg>after": ["logo", "drawn", "after"],
    "b<b>ol</b>d <em>w</em>ord": ["bold", "word"],
    "<p hidden>no</p><template>no</template>yes": ["yes"],
}


@pytest.mark.parametrize("page", HTML_CASES)
def test_blocks_of_a_page_separate_words(page: str) -> None:
    assert text_of(page.encode(), ".html").split() == HTML_CASES[page]


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        (r'{"a": "gr\u00f6\u00dfer"}', '{"a": "größer"}'),
        (r'["\ud83e\udd84"]', '["🦄"]'),
        (r'["a\nb\tc"]', '["a\nb\tc"]'),
        (r'["C:\\new \\u00f6"]', r'["C:\\new \\u00f6"]'),
        (r'["\u0022 \u005c \" \ud800 \u0000"]', r'["\u0022 \u005c \" \ud800 \u0000"]'),
    ],
)
def test_escapes_of_json_are_decoded(source: str, shown: str) -> None:
    assert text_of(source.encode(), ".json") == shown


def test_office_parts_with_a_doctype_are_refused() -> None:
    with pytest.raises(DocumentError, match="DOCTYPE"):
        text_of(documents.outside_entity(), ".docx")
