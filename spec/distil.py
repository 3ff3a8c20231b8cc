"""Makes an edition of upstream's file: the interface without prose, examples and extensions."""

import hashlib
from pathlib import Path
from typing import Any

import yaml

from spec.errata import apply_errata
from spec.normalize import normalize
from spec.prose import strip_prose
from spec.reading import parse, read
from spec.types import JSON


class _Dumper(yaml.CSafeDumper):
    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 -- PyYAML's signature
        return True


def distil(upstream: Path, edition: Path) -> None:
    """Write the edition made of upstream's file; the same file always gives the same bytes.

    Raises InvalidSpec if the file could not be served, so that no such edition is shipped.
    """
    document = parse(read(upstream), str(upstream))
    apply_errata(normalize(document, str(upstream)))
    edition.write_bytes(distilled(document))


def distilled(document: JSON) -> bytes:
    """Return the interface of a document as compact YAML."""
    text = yaml.dump(
        strip_prose(document),
        Dumper=_Dumper,
        sort_keys=False,
        default_flow_style=None,
        width=120,
        allow_unicode=True,
    )
    return text.encode()


def lock_line(name: str, revision: str, upstream: bytes, edition: bytes) -> str:
    """Return the edition's line in editions.lock: name, upstream's revision and both files' sha256."""
    hashes = (hashlib.sha256(content).hexdigest() for content in (upstream, edition))
    return " ".join((name, revision, *hashes))
