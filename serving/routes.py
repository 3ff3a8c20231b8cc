"""What the server knows of each operation, made at start-up."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from werkzeug.routing import Rule

from handlers.registry import Registered
from spec.edition import Edition, Served, served
from spec.operation import Operation
from spec.router import Router
from spec.validation import ResponseValidator

PUBLIC = frozenset({"get_health"})


@dataclass(frozen=True, slots=True)
class Route:
    """An operation with its handler, None where it answers 501, and its rule in Flask.

    `parameters` are the arguments that the handler takes, None if it takes any. `status` is that of
    a success and `validator` checks its body. `is_public` operations need no key. With
    `cancel_on_disconnect` the call ends when its client disconnects.
    """

    operation: Operation
    rule: Rule
    handler: Callable[..., Any] | None
    parameters: frozenset[str] | None
    status: int
    validator: ResponseValidator | None
    is_public: bool
    cancel_on_disconnect: bool

    @classmethod
    def of(cls, operation: Operation, rule: Rule, registered: Registered | None) -> "Route":
        """Join an operation to its rule and its handler."""
        successes = (int(one) for one in operation.responses if one.startswith("2") and one.isdigit())
        status = min(successes, default=200)
        return cls(
            operation,
            rule,
            registered.handle if registered else None,
            registered.parameters if registered else None,
            status,
            operation.response(status),
            operation.name in PUBLIC,
            registered is not None and registered.cancel_on_disconnect,
        )


@dataclass(frozen=True, slots=True)
class ServedEdition:
    """An edition with its router and the routes of its operations by operationId."""

    edition: Edition
    router: Router
    routes: Mapping[str, Route]
    is_assistants_v1: bool

    @classmethod
    def of(
        cls, edition: Edition, rules: Mapping[str, Rule], registered: Mapping[str, Registered]
    ) -> "ServedEdition":
        """Join an edition's operations to their rules and handlers, both by the operations' Python names."""
        routes = {
            one.id: Route.of(one, rules[one.name], registered.get(one.name)) for one in edition.operations
        }
        return cls(edition, edition.router(), routes, edition.name.endswith("assistants-v1"))

    def counts(self) -> Served:
        """Return how many of OpenAI's operations have a handler."""
        return served(self.edition, {one.operation.name for one in self.routes.values() if one.handler})
