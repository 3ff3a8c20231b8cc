"""Open Packaging: the ZIP archive of XML parts that Word, PowerPoint and Excel files are."""

import posixpath
import zipfile
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

import lxml.etree

from inference.errors import DocumentError

MAX_UNPACKED = 512 * 1024 * 1024
MAX_XML = 128 * 1024 * 1024


class Relationship(NamedTuple):
    """A link from one part to another; `type` is the last segment of its URI (`header`, `chart`)."""

    id: str
    type: str
    part: str


class Package:
    """The parts of an Office file, read one at a time."""

    def __init__(self, file: BinaryIO, folder: str) -> None:
        """Raise DocumentError unless the archive holds `folder` (`word/`) and unpacks to a bounded size."""
        try:
            self._archive = zipfile.ZipFile(file)
        except zipfile.BadZipFile as exc:
            raise DocumentError(f"The file is not an Office document: {exc}.", code="invalid_file") from exc
        entries = self._archive.infolist()
        self._names = {entry.filename for entry in entries}
        if not any(name.startswith(folder) for name in self._names):
            raise DocumentError("The file's content does not match its extension.", code="invalid_file")
        xml = sum(entry.file_size for entry in entries if entry.filename.endswith((".xml", ".rels")))
        if sum(entry.file_size for entry in entries) > MAX_UNPACKED or xml > MAX_XML:
            raise DocumentError("The file unpacks to more than this server reads.", code="invalid_file")

    def main_part(self) -> str:
        """Return the name of the document, presentation or workbook part."""
        for relationship in self.relationships(""):
            if relationship.type == "officeDocument":
                return relationship.part
        raise DocumentError("The file cannot be read: it has no main part.", code="invalid_file")

    def relationships(self, part: str) -> list[Relationship]:
        """Return the links from `part` to other parts of the package; those of the package itself for ""."""
        folder, name = posixpath.split(part)
        rels = posixpath.join(folder, "_rels", f"{name}.rels")
        if rels not in self._names:
            return []
        return [
            Relationship(link.get("Id", ""), link.get("Type", "").rpartition("/")[2], target)
            for link in self.xml(rels)
            if link.get("TargetMode") != "External"
            and (target := posixpath.normpath(posixpath.join("/", folder, link.get("Target", "")))[1:])
            in self._names
        ]

    def related(self, part: str, *types: str) -> list[str]:
        """Return the parts that `part` links to by relationships of these types, each once."""
        return list(dict.fromkeys(link.part for link in self.relationships(part) if link.type in types))

    def read(self, part: str) -> bytes:
        """Return the bytes of a part."""
        return self._archive.read(part)

    def xml(self, part: str) -> Any:
        """Return the root element of a part; DocumentError where it declares a DOCTYPE."""
        parser = lxml.etree.XMLParser(
            resolve_entities=False, no_network=True, remove_comments=True, remove_pis=True, huge_tree=True
        )
        root = lxml.etree.fromstring(self.read(part), parser)
        if root.getroottree().docinfo.doctype:
            raise DocumentError(f"The file cannot be read: {part} has a DOCTYPE.", code="invalid_file")
        return root


def local_name(element: Any) -> str:
    """Return an element's or attribute's name without its namespace."""
    tag = element if isinstance(element, str) else element.tag
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def attribute(element: Any, name: str) -> str | None:
    """Return the attribute with this local name, whichever namespace it is in."""
    for key, value in element.items():
        if local_name(key) == name:
            return str(value)
    return None


def find_all(root: Any, *names: str) -> Iterator[Any]:
    """Yield the descendants with one of these local names, in document order."""
    return root.iter(*(f"{{*}}{name}" for name in names))  # type: ignore[no-any-return]


def walk(root: Any, skipped: frozenset[str] = frozenset()) -> Iterator[tuple[str, Any, str]]:
    """Yield (event, element, local name) at each visible element's start and end.

    Elements named in `skipped` are left out with all they contain. Of an AlternateContent, which
    holds the same content for newer and older programs, one branch is visited: its first Choice
    that holds anything, or else its Fallback. Nesting costs no recursion.
    """
    walker = lxml.etree.iterwalk(root, events=("start", "end"))
    left_out = None
    for event, element in walker:
        name = local_name(element)
        if event == "start":
            if name in skipped or (name in ("Choice", "Fallback") and not _is_chosen(element)):
                walker.skip_subtree()
                left_out = element
            else:
                yield event, element, name
        elif element is left_out:
            left_out = None
        else:
            yield event, element, name


def _is_chosen(branch: Any) -> bool:
    """Return whether this branch of an AlternateContent is the one to read."""
    earlier = branch.getprevious()
    while earlier is not None:
        if local_name(earlier) == "Choice" and len(earlier):
            return False
        earlier = earlier.getprevious()
    return True
