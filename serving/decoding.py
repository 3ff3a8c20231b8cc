"""The decoding stage: a request's path, query and body as the handler's arguments, valid by the edition."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from handlers.context import UploadedFile
from handlers.errors import NotImplementedYet
from inference.gateway.http.forms import Form
from inference.spool import Spool
from persistence.store import Store
from serving.bodies import MAX_FIELD, MAX_RELAYED_FIELD, MultipartReader, boundary_of
from serving.body_checker import CHECKED_IN_LOOP, BodyChecker
from serving.body_process import check_value
from serving.limits import HeldBodies, SpooledBodies, check_body, file_limit, too_large
from serving.reading import read_pieces, read_whole
from serving.request import Request
from serving.routes import Route
from serving.routing import PREFIX
from serving.sinks import Sink, SpoolSink, StoreSink
from spec.operation import FORM_MEDIA, Body
from spec.parameters import split_query

MULTIPART = "multipart/form-data"
JSON_TYPE = "application/json"


class Decoder:
    """Decodes and validates requests; files go into the store as they arrive."""

    def __init__(self, store: Store, held: HeldBodies, spooled: SpooledBodies, checker: BodyChecker) -> None:
        self._store = store
        self._held = held
        self._spooled = spooled
        self._checker = checker

    async def decode(self, request: Request, route: Route) -> dict[str, Any]:
        """Return the handler's arguments of an HTTP request; raises InvalidRequest or an ApiError."""
        _check_implemented(request, route)
        operation = route.operation
        arguments = operation.decode_path(request.path_values)
        arguments.update(operation.decode_query(request.query))
        if operation.bodies:
            arguments.update(await self._body(request, route))
        return _accepted(route, arguments)

    def check(self, request: Request, route: Route, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return the handler's arguments of a call without a socket, validated as HTTP's are."""
        _check_implemented(request, route)
        operation = route.operation
        rest = dict(arguments)
        body = rest.pop("body", None)
        path_values = {name: rest.pop(name) for name in operation.path_names if name in rest}
        checked = operation.decode_path(path_values)
        checked.update(operation.check_query(rest))
        if body is not None:
            check_body(request, body)
            operation.body(JSON_TYPE).check(body)
            checked["body"] = body
        return _accepted(route, checked)

    async def decode_message(
        self, request: Request, route: Route, raw: bytes, parsed: Any, beside: Sequence[str]
    ) -> dict[str, Any]:
        """Return a message that holds the operation's body and, unchecked, the members named by `beside`.

        `parsed` is the message's JSON if it is small, else None.
        """
        _check_implemented(request, route)
        request.received = len(raw)
        if len(raw) > CHECKED_IN_LOOP:
            self._held.add(request, len(raw))
        if len(raw) > request.principal.limits.body:
            raise too_large(request.principal.limits.body, "message")
        body = route.operation.body(JSON_TYPE)
        if parsed is not None:
            small: dict[str, Any] = check_value(parsed, body, request.default_model, beside)
            return small
        message: dict[str, Any] = await self._checker.check(raw, request, route.operation, body, beside)
        return message

    async def _body(self, request: Request, route: Route) -> dict[str, Any]:
        """Return the body as the argument `body`, decoded and valid; none where it may be left out and is."""
        headers, operation = request.headers, route.operation
        declared = headers.raw(b"content-length")
        is_empty = declared in (b"", b"0") and not headers.raw(b"transfer-encoding")
        if is_empty and not operation.body_required:
            return {}
        body = operation.body(headers.get("content-type", ""))
        if body.media == MULTIPART:
            return await self._form(request, route, body)
        encoding = headers.raw(b"content-encoding").strip().lower().decode("latin-1")
        raw = await read_whole(
            request.receive, request.principal.limits.body, partial(self._held.add, request), encoding
        )
        request.received = len(raw)
        if body.media in FORM_MEDIA:
            return {"body": body.decode(split_query(raw))}
        if body.media != JSON_TYPE:
            return {"body": raw}
        return {"body": await self._checker.check(raw, request, operation, body)}

    async def _form(self, request: Request, route: Route, body: Body) -> dict[str, Any]:
        """Return a multipart body as arguments: `body` with the fields by name, and the `form` as it came.

        Its files are in the store already, as `UploadedFile`, or on disk for a handler that takes the form.
        """
        principal, headers = request.principal, request.headers
        boundary = boundary_of(headers.get("content-type", ""))
        text, file = principal.limits.body, file_limit(request)
        hold = partial(self._held.add, request)
        open_sink, field = self._sinks(request, route)
        reader = MultipartReader(open_sink, boundary, body.takes_file, text, file, hold, field)
        encoding = headers.raw(b"content-encoding").strip().lower().decode("latin-1")
        form = await reader.read(read_pieces(request.receive, file + text, encoding))
        request.received = form.size
        request.uploads = form.files
        if request.default_model and all(name != "model" for name, _ in form.fields):
            form.fields.append(("model", request.default_model))
        fields = [(name, value) for name, value in form.fields if not isinstance(value, UploadedFile)]
        return {"body": body.decode(form.fields), "form": Form(tuple(fields))}

    def _sinks(self, request: Request, route: Route) -> tuple[Callable[[], Sink], int]:
        """Return where the files of a form go, and the bytes that one text may have."""
        principal = request.principal
        if route.parameters is not None and "form" in route.parameters:
            request.spool = spool = Spool(partial(self._spooled.add, request))
            return partial(SpoolSink, spool), MAX_RELAYED_FIELD
        store = principal.services.store if principal.services else self._store
        return partial(StoreSink, store, principal.project), MAX_FIELD


def _accepted(route: Route, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments that the handler takes."""
    if route.parameters is None:
        return arguments
    return {name: value for name, value in arguments.items() if name in route.parameters}


def _check_implemented(request: Request, route: Route) -> None:
    if route.handler is None:
        operation, served = route.operation, request.edition
        edition = served.edition.name if served else ""
        raise NotImplementedYet(
            f"'{operation.id}' ({operation.method} {PREFIX}{operation.path}) of edition {edition} is not "
            "implemented by this server.",
            headers={"x-should-retry": "false"},
        )
