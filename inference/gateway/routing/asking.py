"""What a request asks for: its route, with the settings that its caller brings."""

from collections.abc import Callable
from dataclasses import replace

from inference.gateway.callers import CallerPolicy, Credentials, complete
from inference.gateway.routing.affinity import affinity_key
from inference.gateway.routing.router import Asked
from inference.gateway.routing.routes import Route
from persistence.types import JSON

Find = Callable[[str, str], Route]


class Asking:
    """Finds the routes of requests; callers' settings count where the operator allows them."""

    def __init__(self, policy: CallerPolicy) -> None:
        self.policy = policy

    def filled(self, request: JSON, credentials: Credentials | None) -> JSON:
        """Return the request with the fields of the caller's settings that it does not have itself."""
        if credentials is None or not credentials.fields or not self.policy.accepts_credentials:
            return request
        own = {name: value for name, value in request.items() if value is not None}
        return {**credentials.fields, **own}

    def find(self, find: Find, model: str, credentials: Credentials | None) -> Route:
        """Return the route of a model, for the provider that the caller names if it names one."""
        named = credentials.provider if credentials and self.policy.accepts_credentials else ""
        return find(model, named)

    def asked(
        self,
        find: Find,
        request: JSON,
        credentials: Credentials | None,
        *,
        is_stream: bool = False,
        conversation: str = "",
    ) -> Asked:
        """Return the way of a request; fallbacks are found by the same `find`, whatever is reloaded."""
        route = self.find(find, request["model"], credentials)
        affinity = affinity_key(request, conversation) if len(route.targets) > 1 else None
        if credentials is None or not self.policy.accepts_credentials:
            return Asked(self.with_credentials(route, None), lambda name: find(name, ""), affinity, is_stream)
        provider = route.targets[0].provider
        own = self.with_credentials(route, credentials, provider)

        def find_own(name: str) -> Route:
            return self.with_credentials(find(name, ""), credentials, provider)

        return Asked(own, find_own, affinity, is_stream, is_tracked=False)

    def with_credentials(self, route: Route, credentials: Credentials | None, provider: str = "") -> Route:
        """Return the route with the caller's credentials, which only deployments of one provider get.

        By default that is the provider of the first one.
        """
        targets = route.targets
        if credentials is not None and self.policy.accepts_credentials:
            provider = provider or targets[0].provider
            targets = tuple(self.policy.apply(t, credentials) for t in targets if t.provider == provider)
        elif not (len(targets) == 1 and targets[0].is_callers):
            return route  # a route to any provider has one target
        return replace(route, targets=tuple(complete(t) if t.is_callers else t for t in targets))
