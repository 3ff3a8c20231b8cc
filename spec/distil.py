"""Makes an edition of upstream's file: the interface's facts, without prose, examples, extensions."""

import hashlib
from pathlib import Path
from typing import Any

import yaml

from spec.errata import apply_errata
from spec.normalize import normalize
from spec.prose import strip_prose
from spec.reading import parse, read


class _Dumper(yaml.CSafeDumper):
    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 -- PyYAML's signature
        return True


def distil(upstream: Path, edition: Path) -> None:
    """Write the edition at `edition` made of upstream's file; the same file gives the same bytes.

    Raises InvalidSpec where upstream's file could not be served, so that none such is shipped.
    """
    document = parse(read(upstream), str(upstream))
    apply_errata(normalize(document, str(upstream)))
    edition.write_bytes(distilled(document))


def distilled(document: dict[str, Any]) -> bytes:
    """A document's facts as compact YAML."""
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
    """The edition's line in editions.lock: name, upstream's revision, sha256 of its file and of ours."""
    hashes = (hashlib.sha256(content).hexdigest() for content in (upstream, edition))
    return " ".join((name, revision, *hashes))
