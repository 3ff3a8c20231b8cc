import json
from pathlib import Path

import pytest

from spec.edition import Edition, load
from tests.spec.shaped import compile_validators
from tests.spec.upstream import FILE, revisions

SLICES = 8

pytestmark = pytest.mark.slow


def check_routes(edition: Edition) -> None:
    """Find each operation by its own path, and show all of them to Connexion."""
    router = edition.router()
    for operation in edition.operations:
        query = "&".join(f"{name}={value}" for name, value in operation.query.items())
        path = "/".join("x" if part.startswith("{") else part for part in operation.path.split("/"))
        assert router.match(operation.method, path, query)[0] is operation
    assert len(edition.facade()["paths"]) > 10


@pytest.mark.timeout(300)
@pytest.mark.parametrize("part", range(SLICES))
def test_every_revision_that_upstream_published_can_be_served(part: int, tmp_path: Path) -> None:
    file = tmp_path / "openapi.json"
    for number, revision in enumerate(revisions(part, SLICES)):
        file.write_text(json.dumps(revision.document))
        edition = load(str(file), None)
        check_routes(edition)
        if number % 8 == 0:
            for operation in edition.operations:
                compile_validators(operation)


def test_no_revision_is_missing_and_the_file_stays_small() -> None:
    dates = [revision.date for revision in revisions()]
    assert (len(dates), dates[0], dates[-1]) == (246, "2022-01-19", "2026-08-21")
    assert FILE.stat().st_size < 100_000
