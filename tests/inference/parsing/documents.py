"""Files of every kind, honest and hostile, made when they are asked for."""

import io
import zipfile

import docx
import pptx
import pypdf
import xlsxwriter

WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"


def word(*paragraphs: str, table: list[list[str]] | None = None) -> bytes:
    document = docx.Document()
    for paragraph in paragraphs:
        document.add_paragraph(paragraph)
    if table:
        cells = document.add_table(len(table), len(table[0]))
        for y, row in enumerate(table):
            for x, text in enumerate(row):
                cells.cell(y, x).text = text
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
    for (row, column), value in cells.items():
        page.write(row, column, value)
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
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(word("text"))) as honest,
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as package,
    ):
        for name in honest.namelist():
            package.writestr(name, data if name == "word/document.xml" else honest.read(name))
    return buffer.getvalue()
