"""Every revision that upstream ever published, where its files are at hand.

`build/upstream` is filled with one file a revision, by hand:

    git -C openai-openapi log HEAD --reverse --format=%H -- openapi.yaml |
    while read r; do git -C openai-openapi show $r:openapi.yaml > build/upstream/$((++n))-$r.yaml; done
"""

from pathlib import Path

import pytest

from astrolabe_server.spec.edition import load
from astrolabe_server.spec.errors import SpecRefused

FOLDER = Path(__file__).parents[2] / "build" / "upstream"
REVISIONS = sorted(FOLDER.glob("*.yaml"))
NOT_YAML = 5

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not REVISIONS, reason="no revisions of upstream in build/upstream"),
]


def tally(revisions: list[Path], compile_each: int) -> list[str]:
    """The lines of refusal; what is not refused must route, be shown to Connexion, and compile."""
    refused = []
    for number, revision in enumerate(revisions):
        try:
            edition = load(str(revision), None)
        except SpecRefused as line:
            refused.append(str(line))
            continue
        router = edition.router()
        for operation in edition.operations:
            query = "&".join(f"{name}={value}" for name, value in operation.query.items())
            path = "/".join("x" if part.startswith("{") else part for part in operation.path.split("/"))
            assert router.match(operation.method, path, query)[0] is operation
        assert len(edition.facade()["paths"]) > 10
        if number % compile_each == 0:
            for operation in edition.operations:
                operation.compile()
    return refused


@pytest.mark.timeout(600)
def test_every_well_formed_revision_is_served_and_the_others_say_why_not() -> None:
    refused = tally(REVISIONS, compile_each=10)
    assert all("not YAML" in line or "it is empty" in line for line in refused)
    assert all("\n" not in line for line in refused)
    assert len(refused) <= NOT_YAML
    if len(REVISIONS) == 255:
        assert len(refused) == NOT_YAML
