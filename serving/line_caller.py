"""Calls operations for the lines of batches, by the stages that requests over HTTP go through."""

from dataclasses import dataclass, field
from typing import cast

from handlers.context import Limits, Principal, Services
from handlers.errors import BadRequest
from inference.batches.caller import LineAnswer, Sender
from persistence.types import JSON
from serving.body_checker import BodyChecker
from serving.pipeline import Pipeline
from serving.request import Headers, Request
from serving.responses import Response
from serving.routes import Route, ServedEdition
from spec.errors import InvalidRequest
from spec.operation import JSON_MEDIA


@dataclass(slots=True)
class LineStages:
    """The stages that lines go through; they exist once the application is made."""

    pipeline: Pipeline | None = None
    checker: BodyChecker | None = None


@dataclass(slots=True)
class LineCaller:
    """Calls operations for the batches of one store, as the project that created the batch.

    `services` are the store's. `tenant` names the store where each caller's token opens its own.
    """

    limits: Limits
    is_astra: bool = False
    tenant: str = ""
    stages: LineStages = field(default_factory=LineStages)
    services: Services | None = None
    _routes: dict[str, tuple[ServedEdition | None, Route]] = field(default_factory=dict)

    @property
    def longest_line(self) -> int:
        """Bytes of the longest line that is accepted: those of a request's body."""
        return self.limits.body

    async def check(self, sender: Sender, endpoint: str, raw: bytes) -> JSON:
        """Return a line as Python data, with its body as the operation takes it; raise InvalidRequest."""
        request, route = self._request(sender, endpoint)
        checker = self.stages.checker
        assert checker is not None  # noqa: S101 - jobs run after the application is made
        operation = route.operation
        body = operation.body(JSON_MEDIA)
        try:
            line = await checker.check_line(raw, request, operation, body, endpoint)
        except BadRequest as exc:  # it takes too long to check
            raise InvalidRequest(exc.message, exc.param, exc.code) from exc
        return cast(JSON, line)

    async def call(self, sender: Sender, endpoint: str, body: JSON) -> LineAnswer:
        """Return the response to a line's body, errors included."""
        request, route = self._request(sender, endpoint)
        response = await self._pipeline.run(request, route, {"body": body})
        # Lines ask for no stream, so the response is one piece.
        return LineAnswer(response.status, request.id, cast(bytes, response.body), _retry_after(response))

    @property
    def _pipeline(self) -> Pipeline:
        pipeline = self.stages.pipeline
        assert pipeline is not None  # noqa: S101 - jobs run after the application is made
        return pipeline

    def _request(self, sender: Sender, endpoint: str) -> tuple[Request, Route]:
        principal = Principal(
            sender.project,
            limits=self.limits,
            is_astra=self.is_astra,
            services=self.services,
            tenant=self.tenant,
        )
        request = Request(
            self._pipeline.new_id(),
            "POST",
            endpoint,
            endpoint,
            b"",
            Headers(()),
            principal=principal,
            settings=sender.settings,
        )
        found = self._routes.get(endpoint)
        if found is None:
            route = self._pipeline.routing.find(request)
            found = self._routes[endpoint] = request.edition, route
        request.edition, route = found
        request.route, request.operation_id = route, route.operation.id
        return request, route


def _retry_after(response: Response) -> float | None:
    value = dict(response.headers).get(b"retry-after", b"")
    return float(value) if value.isdigit() else None
