"""Every revision of openapi.yaml that openai/openai-openapi published, in one file of 76 kB.

The file holds what `astrolabe spec distil` keeps of each: facts without prose, examples and extensions, as
upstream has them otherwise. Its licence is MIT (`spec/editions/LICENSE`). Five of upstream's revisions are
left out: two with a colon in plain text, two with broken indentation, one without the file.
`test_reading.py` has YAML with the same faults.

    python -m tests.spec.upstream CLONE    # writes the file anew from a clone of openai/openai-openapi
"""

import json
import lzma
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from spec.errors import InvalidSpec
from spec.prose import strip_prose
from spec.reading import parse
from spec.types import JSON

FILE = Path(__file__).with_name("upstream.jsonl.xz")
FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": 1 << 27}]


@dataclass(frozen=True)
class Revision:
    """One commit that changed openapi.yaml."""

    revision: str
    date: str
    document: JSON


def revisions(start: int = 0, step: int = 1) -> Iterator[Revision]:
    """Read every `step`-th revision, oldest first."""
    with lzma.open(FILE, "rt") as lines:
        for line in islice(lines, start, None, step):
            yield Revision(**json.loads(line))


def published(clone: Path) -> Iterator[Revision]:
    """Read the history of a clone, oldest first, each content once."""

    def git(*arguments: str) -> bytes:
        done = subprocess.run(["git", "-C", clone, *arguments], capture_output=True, check=False)
        return done.stdout

    log = git("log", "HEAD", "--reverse", "--format=%H %as", "--", "openapi.yaml")
    seen = {b""}
    for line in log.decode().splitlines():
        revision, date = line.split()
        text = git("show", f"{revision}:openapi.yaml")
        if text in seen:
            continue
        seen.add(text)
        try:
            yield Revision(revision, date, strip_prose(parse(text, revision)))
        except InvalidSpec as error:
            print(error, file=sys.stderr)


if __name__ == "__main__":
    with lzma.open(FILE, "wt", filters=FILTERS) as file:
        for one in published(Path(sys.argv[1])):
            file.write(json.dumps(vars(one), ensure_ascii=False, separators=(",", ":")) + "\n")
