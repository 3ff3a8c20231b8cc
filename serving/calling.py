"""The calling stage: runs the operation's handler."""

from typing import Any

from handlers.context import Answer, Context, Services
from handlers.ownership import check_owners
from serving.interruptions import WATCH_AFTER, Interruptions
from serving.request import Request
from serving.routes import Route


class HandlerCaller:
    """Calls handlers with a context made of the request."""

    def __init__(self, services: Services, interruptions: Interruptions) -> None:
        self._services = services
        self._interruptions = interruptions

    async def call(self, request: Request, route: Route, arguments: dict[str, Any]) -> Answer:
        """Return what the handler answers, or raise what it raises."""
        handler, context = route.handler, self.context(request)
        assert handler is not None  # noqa: S101 - set by earlier stages
        await check_owners(context, arguments)
        if not route.cancel_on_disconnect:
            answer: Answer = await handler(context, **arguments)
            return answer
        with self._interruptions.interruptible(request.receive, watch_after=WATCH_AFTER):
            waited: Answer = await handler(context, **arguments)
            return waited

    def context(self, request: Request) -> Context:
        """Return the context of a request that was authenticated."""
        served = request.edition
        assert served is not None  # noqa: S101 - set by earlier stages
        return Context(
            services=request.principal.services or self._services,
            principal=request.principal,
            operation_id=request.operation_id,
            edition=served.edition.name,
            request_id=request.id,
            headers=request.headers,
            assistants_v1=served.is_assistants_v1,
            open_stream=request.open_stream,
            connection=request.connection,
            settings=request.settings,
        )
