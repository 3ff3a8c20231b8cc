"""Excel workbooks, by Calamine."""

from collections.abc import Iterator
from typing import BinaryIO

from python_calamine import CalamineWorkbook

from inference.parsing.formats.office import check_package


def read(file: BinaryIO) -> Iterator[str]:
    """Each sheet's name and its rows, with tabs between cells; DocumentError."""
    check_package(file, "xl/")
    workbook = CalamineWorkbook.from_object(file)
    for name in workbook.sheet_names:
        yield f"{name}\n"
        for row in workbook.get_sheet_by_name(name).iter_rows():
            line = "\t".join(str(cell) for cell in row).rstrip("\t")
            if line:
                yield line + "\n"
        yield "\n"
