"""Build documents of every type, ordinary and hostile."""

import io
import zipfile
from collections.abc import Callable

import docx
import pptx
import pypdf
import xlsxwriter
from pptx.chart.data import CategoryChartData
from pptx.enum.chart import XL_CHART_TYPE
from pypdf.generic import (
    ArrayObject,
    BooleanObject,
    DictionaryObject,
    NameObject,
    NumberObject,
    TextStringObject,
)
from xlsxwriter.worksheet import Worksheet

WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"


def word(*paragraphs: str, cells: list[list[str]] | None = None) -> bytes:
    document = docx.Document()
    for paragraph in paragraphs:
        document.add_paragraph(paragraph)
    if cells:
        added = document.add_table(len(cells), len(cells[0]))
        for y, texts in enumerate(cells):
            for x, text in enumerate(texts):
                added.cell(y, x).text = text
    buffer = io.BytesIO()
    document.save(buffer)
    return buffer.getvalue()


def slides(*titles: str, notes: str = "") -> bytes:
    presentation = pptx.Presentation()
    for title in titles:
        slide = presentation.slides.add_slide(presentation.slide_layouts[5])
        slide.shapes.title.text = title
        if notes:
            slide.notes_slide.notes_text_frame.text = notes
    buffer = io.BytesIO()
    presentation.save(buffer)
    return buffer.getvalue()


def sheet(cells: dict[tuple[int, int], str | float]) -> bytes:
    buffer = io.BytesIO()
    workbook = xlsxwriter.Workbook(buffer)
    page = workbook.add_worksheet("Prices")
    for (y, x), value in cells.items():
        page.write(y, x, value)
    workbook.close()
    return buffer.getvalue()


def pdf(*pages: str, password: str | None = None) -> bytes:
    """A PDF with a line of text a page; "" makes a page without text."""
    kids = " ".join(f"{4 + 2 * n} 0 R" for n in range(len(pages)))
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Count {len(pages)} /Kids [{kids}] >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    resources = "/Resources << /Font << /F1 3 0 R >> >>"
    for n, text in enumerate(pages):
        shown = f"BT /F1 12 Tf 50 700 Td ({text}) Tj ET" if text else ""
        objects += [
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Contents {5 + 2 * n} 0 R {resources} >>",
            f"<< /Length {len(shown)} >>\nstream\n{shown}\nendstream",
        ]
    data = bytearray(b"%PDF-1.4\n")
    offsets = []
    for number, text in enumerate(objects, start=1):
        offsets.append(len(data))
        data += f"{number} 0 obj\n{text}\nendobj\n".encode()
    start = len(data)
    data += f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n".encode()
    data += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    data += f"trailer << /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{start}\n%%EOF\n".encode()
    return encrypted(bytes(data), password) if password else bytes(data)


def encrypted(data: bytes, password: str) -> bytes:
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(data))
    writer.encrypt(password)
    buffer = io.BytesIO()
    writer.write(buffer)
    return buffer.getvalue()


def zip_bomb() -> bytes:
    """A Word document of 150 kB that unpacks to 150 MB."""
    return _with_document(b" " * 150_000_000)


def lying_zip_bomb() -> bytes:
    """One whose directory says that it unpacks to a kilobyte."""
    packed = bytearray(_with_document(b"<a>" + b" " * 150_000_000))
    size = (150_000_003).to_bytes(4, "little")
    place = packed.rfind(size)  # in the central directory, which is last
    packed[place : place + 4] = (1000).to_bytes(4, "little")
    return bytes(packed)


def billion_laughs() -> bytes:
    """A Word document whose entities unfold to 3 GB."""
    entities = '<!ENTITY lol0 "lol">' + "".join(
        f'<!ENTITY lol{n} "{f"&lol{n - 1};" * 10}">' for n in range(1, 10)
    )
    body = (
        f'<w:document xmlns:w="{WORD}"><w:body><w:p><w:r><w:t>&lol9;</w:t></w:r></w:p></w:body></w:document>'
    )
    return _with_document(f'<?xml version="1.0"?><!DOCTYPE lolz [{entities}]>{body}'.encode())


def outside_entity() -> bytes:
    """A Word document that asks for a file of the machine that reads it."""
    body = f'<w:document xmlns:w="{WORD}"><w:body><w:p><w:r><w:t>got: &secret;</w:t></w:r></w:p></w:body></w:document>'
    doctype = '<!DOCTYPE d [<!ENTITY secret SYSTEM "file:///etc/passwd">]>'
    return _with_document(f'<?xml version="1.0"?>{doctype}{body}'.encode())


def _with_document(data: bytes) -> bytes:
    """A Word package with these bytes as its document."""
    return with_parts(word("text"), {"word/document.xml": data})


def with_parts(package: bytes, parts: dict[str, bytes]) -> bytes:
    """An Office package with some parts added or replaced."""
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(package)) as old,
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in dict.fromkeys([*old.namelist(), *parts]):
            new.writestr(name, parts[name] if name in parts else old.read(name))
    return buffer.getvalue()


def part_of(package: bytes, name: str) -> bytes:
    with zipfile.ZipFile(io.BytesIO(package)) as archive:
        return archive.read(name)


NAMESPACES = (
    f'xmlns:w="{WORD}" xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006"'
    ' xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main"'
    ' xmlns:p="http://schemas.openxmlformats.org/presentationml/2006/main"'
    ' xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships"'
    ' xmlns:wps="http://schemas.microsoft.com/office/word/2010/wordprocessingShape"'
    ' xmlns:dgm="http://schemas.openxmlformats.org/drawingml/2006/diagram"'
    ' xmlns:m="http://schemas.openxmlformats.org/officeDocument/2006/math"'
    ' xmlns:v="urn:schemas-microsoft-com:vml"'
)


def word_body(body: str) -> bytes:
    """A Word document with this XML as its body."""
    return _with_document(f"<w:document {NAMESPACES}><w:body>{body}</w:body></w:document>".encode())


def run(text: str) -> str:
    return f"<w:r><w:t>{text}</w:t></w:r>"


def paragraph(*texts: str) -> str:
    return f"<w:p>{''.join(map(run, texts))}</w:p>"


def cell(content: str, properties: str = "") -> str:
    return f"<w:tc><w:tcPr>{properties}</w:tcPr>{content}</w:tc>"


def row(*cells: str) -> str:
    return f"<w:tr>{''.join(cells)}</w:tr>"


def table(*rows: str) -> str:
    return f"<w:tbl>{''.join(rows)}</w:tbl>"


def word_with_headers() -> bytes:
    document = docx.Document()
    section = document.sections[0]
    section.header.paragraphs[0].text = "the header"
    section.footer.paragraphs[0].text = "the footer"
    document.add_paragraph("the body")
    document.add_section().header.is_linked_to_previous = True
    buffer = io.BytesIO()
    document.save(buffer)
    return buffer.getvalue()


def word_with_wide_spans(rows: int, span: int) -> bytes:
    """A table whose rows each say that one cell spans many columns."""
    spanning = f'<w:gridSpan w:val="{span}"/>'
    return word_body(table(*(row(cell(paragraph(f"row{n}"), spanning)) for n in range(rows))))


def slide_xml(shapes: str, relationships: dict[str, tuple[str, str, bytes]] | None = None) -> bytes:
    """A presentation of one slide with this XML as its shapes; relationships are id: (type, part, data)."""
    deck = slides("")
    name = "ppt/slides/slide1.xml"
    tree = f"<p:nvGrpSpPr/><p:grpSpPr/>{shapes}"
    parts = {
        name: f"<p:sld {NAMESPACES}><p:cSld><p:spTree>{tree}</p:spTree></p:cSld></p:sld>".encode(),
    }
    links = ""
    for id, (kind, part, data) in (relationships or {}).items():
        parts[part] = data
        links += f'<Relationship Id="{id}" Type="http://x/relationships/{kind}" Target="/{part}"/>'
    rels = part_of(deck, "ppt/slides/_rels/slide1.xml.rels").decode()
    parts["ppt/slides/_rels/slide1.xml.rels"] = rels.replace(
        "</Relationships>", f"{links}</Relationships>"
    ).encode()
    return with_parts(deck, parts)


def shape(text: str) -> str:
    return f"<p:sp><p:txBody><a:p><a:r><a:t>{text}</a:t></a:r></a:p></p:txBody></p:sp>"


def slide_with_chart() -> bytes:
    presentation = pptx.Presentation()
    slide = presentation.slides.add_slide(presentation.slide_layouts[6])
    data = CategoryChartData()
    data.categories = ["Spring", "Autumn"]
    data.add_series("Apples", (1.5, 20))
    data.add_series("Pears", (3, 40))
    chart = slide.shapes.add_chart(XL_CHART_TYPE.COLUMN_CLUSTERED, 0, 0, 5_000_000, 5_000_000, data).chart
    chart.has_title = True
    chart.chart_title.text_frame.text = "Harvest"
    buffer = io.BytesIO()
    presentation.save(buffer)
    return buffer.getvalue()


def form(value: str, note: str) -> bytes:
    """A PDF with a filled text field, a password field, a hidden field and a free-text annotation."""
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(pdf("Printed words")))
    page = writer.pages[0]
    fields = ArrayObject()
    annotations = ArrayObject()
    for name, content, flags, hidden in [
        ("Name", value, 0, 4),
        ("Pin", "swordfish", 1 << 13, 4),
        ("Draft", "invisible", 0, 2),
    ]:
        field = DictionaryObject(
            {
                NameObject("/Type"): NameObject("/Annot"),
                NameObject("/Subtype"): NameObject("/Widget"),
                NameObject("/FT"): NameObject("/Tx"),
                NameObject("/T"): TextStringObject(name),
                NameObject("/V"): TextStringObject(content),
                NameObject("/Ff"): NumberObject(flags),
                NameObject("/F"): NumberObject(hidden),
                NameObject("/DA"): TextStringObject("/F1 12 Tf 0 g"),
                NameObject("/Rect"): ArrayObject(map(NumberObject, (50, 600, 250, 620))),
            }
        )
        reference = writer._add_object(field)
        fields.append(reference)
        annotations.append(reference)
    annotations.append(
        writer._add_object(
            DictionaryObject(
                {
                    NameObject("/Type"): NameObject("/Annot"),
                    NameObject("/Subtype"): NameObject("/FreeText"),
                    NameObject("/Contents"): TextStringObject(note),
                    NameObject("/DA"): TextStringObject("/F1 12 Tf 0 g"),
                    NameObject("/Rect"): ArrayObject(map(NumberObject, (50, 500, 250, 520))),
                }
            )
        )
    )
    page[NameObject("/Annots")] = annotations
    writer._root_object[NameObject("/AcroForm")] = DictionaryObject(
        {NameObject("/Fields"): fields, NameObject("/NeedAppearances"): BooleanObject(True)}
    )
    buffer = io.BytesIO()
    writer.write(buffer)
    return buffer.getvalue()


def workbook(build: Callable[[xlsxwriter.Workbook, Worksheet], None]) -> bytes:
    buffer = io.BytesIO()
    book = xlsxwriter.Workbook(buffer)
    build(book, book.add_worksheet("Sheet"))
    book.close()
    return buffer.getvalue()
