"""Connexion, which knows OpenAPI 3.0 alone, loads every edition through its facade."""

from typing import Any

import pytest

from spec.edition import Edition
from spec.facade import facade_path


# What Connexion imports warns of its age.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:Using `httpx` with")
def test_connexion_accepts_the_facade_of_every_edition(editions: dict[str, Edition]) -> None:
    import connexion
    from connexion.resolver import Resolution, Resolver

    class ByName(Resolver):
        def resolve(self, operation: Any) -> Resolution:
            return Resolution(lambda **_: None, operation.operation_id)

    for name, one in editions.items():
        app = connexion.FlaskApp(f"facade-{name}")
        app.add_api(one.facade(), resolver=ByName())
        app.middleware._build_middleware_stack()
        rules = {rule.rule.replace("<", "{").replace(">", "}") for rule in app.app.url_map.iter_rules()}
        assert {one.base + facade_path(operation) for operation in one.operations} <= rules


def test_operations_with_a_fixed_query_have_their_own_path_in_the_facade(newest: Edition) -> None:
    paths = newest.facade()["paths"]
    assert paths["/responses"]["post"]["operationId"] == "create_response"
    assert "post" in paths["/responses/__beta_true"]


def test_the_facade_has_every_operation_once(editions: dict[str, Edition]) -> None:
    for one in editions.values():
        names = [spec["operationId"] for item in one.facade()["paths"].values() for spec in item.values()]
        assert sorted(names) == sorted(operation.name for operation in one.operations)
