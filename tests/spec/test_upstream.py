"""Every revision that upstream ever published, where its files are at hand.

`build/upstream` is filled with one file a revision, by hand:

    git -C openai-openapi log HEAD --reverse --format=%H -- openapi.yaml |
    while read r; do git -C openai-openapi show $r:openapi.yaml > build/upstream/$((++n))-$r.yaml; done
"""

from pathlib import Path

import pytest

from spec.edition import Edition, load
from spec.errors import InvalidSpec
from tests.spec.shaped import compile_validators

FOLDER = Path(__file__).parents[2] / "build" / "upstream"
REVISIONS = sorted(FOLDER.glob("*.yaml"))
# Two were published with a colon in plain text, two with a broken indentation, one is empty.
BROKEN = ("768764bc9f", "a33b9f9411", "635427f0c3", "0b4728dc10", "e1cb7a86ad")
SLICES = 8

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not REVISIONS, reason="no revisions of upstream in build/upstream"),
]


def routes_and_shows(edition: Edition) -> None:
    """Every operation is found by its own path, and stands in what Connexion is shown."""
    router = edition.router()
    for operation in edition.operations:
        query = "&".join(f"{name}={value}" for name, value in operation.query.items())
        path = "/".join("x" if part.startswith("{") else part for part in operation.path.split("/"))
        assert router.match(operation.method, path, query)[0] is operation
    assert len(edition.facade()["paths"]) > 10


@pytest.mark.timeout(600)
@pytest.mark.parametrize("part", range(SLICES))
def test_every_well_formed_revision_is_served_and_the_others_say_why_not(part: int) -> None:
    for number, revision in enumerate(REVISIONS[part::SLICES]):
        if any(broken in revision.name for broken in BROKEN):
            with pytest.raises(InvalidSpec, match=r"not YAML|it is empty") as refused:
                load(str(revision), None)
            assert "\n" not in str(refused.value)
            continue
        edition = load(str(revision), None)
        routes_and_shows(edition)
        if number % 8 == 0:
            for operation in edition.operations:
                compile_validators(operation)
