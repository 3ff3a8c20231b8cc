"""What Word, PowerPoint and Excel files have in common: a ZIP archive of XML."""

import zipfile
from typing import BinaryIO

from inference.errors import DocumentError

MAX_UNPACKED = 512 * 1024 * 1024
MAX_XML = 128 * 1024 * 1024


def check_package(file: BinaryIO, folder: str) -> None:
    """DocumentError unless the file is an Office package with that folder, and unpacks to a sane size."""
    try:
        entries = zipfile.ZipFile(file).infolist()
    except zipfile.BadZipFile as exc:
        raise DocumentError(f"The file is no Office document: {exc}.", code="invalid_file") from exc
    finally:
        file.seek(0)
    if not any(entry.filename.startswith(folder) for entry in entries):
        raise DocumentError("The file is an archive of another kind than its name says.", code="invalid_file")
    unpacked = sum(entry.file_size for entry in entries)
    xml = sum(entry.file_size for entry in entries if entry.filename.endswith((".xml", ".rels")))
    if unpacked > MAX_UNPACKED or xml > MAX_XML:
        raise DocumentError("The file unpacks to more than this server reads.", code="invalid_file")
