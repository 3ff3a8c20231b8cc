"""An operation of an edition: its parameters, bodies and responses, with their validators."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from spec.errors import InvalidRequest
from spec.names import python_name
from spec.parameters import (
    Components,
    Parameter,
    Repeated,
    Shape,
    assemble,
    decode,
    parameter,
    shape,
    split_query,
)
from spec.schema import property_names
from spec.types import JSON
from spec.validation import RequestValidator, ResponseValidator

JSON_MEDIA = "application/json"
FORM_MEDIA = ("multipart/form-data", "application/x-www-form-urlencoded")
Responses = Mapping[str, Mapping[str, ResponseValidator | None]]


class Fields:
    """The parameters of a path or a query, and the schema of all of them.

    `required` is true if one of them is required.
    """

    __slots__ = (
        "_arguments",
        "_components",
        "_defaults",
        "_only_strings",
        "_parameters",
        "_shapes",
        "_validator",
        "required",
    )

    def __init__(self, parameters: Iterable[Parameter], components: Components) -> None:
        self._parameters = {one.name: one for one in parameters}
        self._parameters |= {one.name.removesuffix("[]"): one for one in self._parameters.values()}
        self.required = any(one.required for one in self._parameters.values())
        self._components = components
        self._shapes: dict[str, Shape] = {}
        self._validator = RequestValidator(self._schema(), components)
        self._arguments = {name: one.argument for name, one in self._parameters.items()}
        self._defaults = {
            one.argument: one.schema["default"]
            for one in self._parameters.values()
            if isinstance(one.schema, dict) and "default" in one.schema
        }
        self._only_strings = all(one.schema == {"type": "string"} for one in self._parameters.values())

    def _schema(self) -> JSON:
        known = {one.name.removesuffix("[]"): one for one in self._parameters.values()}
        return {
            "type": "object",
            "properties": {name: one.schema for name, one in known.items()},
            "required": [name for name, one in known.items() if one.required],
            "additionalProperties": False,
        }

    def arguments(self, values: Mapping[str, str]) -> JSON:
        """Decode and check a path's values; return them by the handler's keywords."""
        for name, value in values.items():
            if "\0" in value:
                raise InvalidRequest(
                    f"Invalid '{name}': null characters are not allowed.", name, "invalid_value"
                )
        if self._only_strings:
            return {self._arguments[name]: value for name, value in values.items()}
        return self.decode(values.items())

    def check(self, values: Mapping[str, Any]) -> JSON:
        """Return typed values by the handler's keywords, with defaults; raise InvalidRequest for bad ones."""
        self._validator.check(dict(values))
        return self._defaults | {self._arguments[name]: value for name, value in values.items()}

    def decode(self, pairs: Iterable[tuple[str, Any]]) -> JSON:
        """Decode and check pairs; return them by the handler's keywords, with defaults."""
        values: JSON = {}
        for name, value in assemble(pairs).items():
            one = self._parameters.get(name)
            values[name] = value if one is None else decode(value, self._shape(one), commas=one.commas)
        self._validator.check(values)
        return self._defaults | {self._arguments[name]: value for name, value in values.items()}

    def defaults(self) -> JSON:
        """The values of absent fields that have a default, by the handler's keywords."""
        return dict(self._defaults)

    def _shape(self, one: Parameter) -> Shape:
        found = self._shapes.get(one.name)
        if found is None:
            found = self._shapes[one.name] = shape(one.schema, self._components)
        return found


class Body:
    """The body of an operation in one media type.

    `schema` is None if the edition does not describe the content. An object may be sent back whole to
    its update: `object_fields` are its fields, `creation_fields` those that its creation takes.
    """

    __slots__ = ("_components", "_fixed", "_read_only", "_shape", "media", "schema", "validator")

    def __init__(
        self,
        media: str,
        schema: Any,
        components: Components,
        object_fields: frozenset[str] = frozenset(),
        creation_fields: frozenset[str] = frozenset(),
    ) -> None:
        self.media = media
        self._read_only = object_fields - property_names(schema, components)
        self._fixed = self._read_only & creation_fields
        self.schema = schema
        self.validator = RequestValidator({} if schema is None else schema, components)
        self._components = components
        self._shape: Shape | None = None

    def check(self, value: Any) -> None:
        """Raise InvalidRequest, naming the field, unless `value` fits.

        Read-only fields are removed from `value`, in place, and so are nulls that mean absent. Those
        that only creation takes stay, unchecked: the handler compares them with the object's.
        """
        removed: JSON = {}
        if self._read_only and isinstance(value, dict):
            removed = {name: value.pop(name) for name in self._read_only & value.keys()}
        self.validator.check(value)
        for name in self._fixed & removed.keys():
            value[name] = removed[name]

    def takes_file(self, name: str) -> bool:
        """Return whether the form field of that name may be a file (`image`, `image[]`, `image[0]`)."""
        return _may_be_file(self._form().member(name.partition("[")[0]))

    def decode(self, pairs: Iterable[tuple[str, Any]]) -> JSON:
        """Return a form's fields as JSON; values other than strings are files and pass unchanged.

        Raises InvalidRequest if the fields do not fit, also for a file in a text field and the reverse.
        """
        form = self._form()
        fields = assemble((name, value if isinstance(value, str) else _File(value)) for name, value in pairs)
        values = {name: decode(value, form.member(name)) for name, value in fields.items()}
        for name, value in values.items():
            _check_files(name, value, form.member(name))
        self.validator.check({name: _without_files(value) for name, value in values.items()})
        return {name: _with_files(value) for name, value in values.items()}

    def _form(self) -> Shape:
        if self._shape is None:
            self._shape = shape(self.schema, self._components)
        return self._shape


@dataclass(frozen=True, slots=True)
class _File:
    value: Any


def _may_be_file(shaped: Shape) -> bool:
    return shaped.binary or ("array" in shaped.types and shaped.items().binary)


def _check_files(name: str, value: Any, shaped: Shape) -> None:
    values = value if isinstance(value, list) else [value]
    files = [one for one in values if isinstance(one, _File)]
    others = [one for one in values if not isinstance(one, _File)]
    if any(_holds_file(one) for one in others) or (files and not _may_be_file(shaped)):
        message = f"Invalid type for '{name}': expected a value, but got a file instead."
        raise InvalidRequest(message, name, "invalid_type")
    if _may_be_file(shaped) and any(isinstance(one, str) for one in others):
        message = f"Invalid type for '{name}': expected a file, but got a value instead."
        raise InvalidRequest(message, name, "invalid_type")


def _holds_file(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_holds_file(one) for one in value.values())
    if isinstance(value, list):
        return any(_holds_file(one) for one in value)
    return isinstance(value, _File)


def _without_files(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_files(one) for one in value]
    if isinstance(value, dict):
        return {name: _without_files(one) for name, one in value.items()}
    return "" if isinstance(value, _File) else value


def _with_files(value: Any) -> Any:
    if isinstance(value, Repeated | list):
        return [_with_files(one) for one in value]
    return value.value if isinstance(value, _File) else value


@dataclass(frozen=True, slots=True, eq=False)
class Operation:
    """One operation of an edition.

    `id` is the edition's operationId, `name` the handler's name. `path` is without the server's base
    (`/v1`), `query` its fixed query (`{"beta": "true"}`). `bodies` are by media type, `responses` by
    status (`200`, `4XX`, `default`) and media type; None if the edition does not describe the
    content. `own` marks the operations that Astrolabe adds.
    """

    id: str
    name: str
    method: str
    path: str
    query: Mapping[str, str]
    tags: tuple[str, ...]
    parameters: tuple[Parameter, ...]
    bodies: Mapping[str, Body]
    body_required: bool
    responses: Responses
    own: bool = False
    path_names: tuple[str, ...] = ()
    _path: Fields = field(repr=False, kw_only=True)
    _query: Fields = field(repr=False, kw_only=True)

    def body(self, content_type: str) -> Body:
        """Return the body of that Content-Type header; without a header, JSON.

        Raises InvalidRequest (`unsupported_content_type`) for other types.
        """
        media = content_type.partition(";")[0].strip().lower() or JSON_MEDIA
        found = self.bodies.get(media)
        if found is None and media == FORM_MEDIA[1]:
            found = self.bodies.get(FORM_MEDIA[0])
        if found is not None:
            return found
        accepted = " or ".join(f"'{one}'" for one in self.bodies) or "no"
        message = (
            f"Unsupported content type: '{media[:100]}'. This API method only accepts {accepted} requests."
        )
        raise InvalidRequest(message, None, "unsupported_content_type")

    def decode_path(self, values: Mapping[str, str]) -> JSON:
        """Return the path's parameters by the handler's keywords; raise InvalidRequest if one is wrong."""
        return self._path.arguments(values) if values else {}

    def decode_query(self, query: bytes) -> JSON:
        """Return the query's parameters by the handler's keywords; raise InvalidRequest if one does not fit.

        Absent ones get the edition's default or are left out; fixed ones are left out. Unknown ones
        are refused, so that a misspelt `limit` is not ignored.
        """
        if not query and not self._query.required:
            return self._query.defaults()
        pairs = split_query(query)
        if self.query:
            pairs = [pair for pair in pairs if self.query.get(pair[0]) != pair[1]]
        return self._query.decode(pairs)

    def check_query(self, values: Mapping[str, Any]) -> JSON:
        """Return typed values of the query's parameters by the handler's keywords, checked."""
        return self._query.check(values)

    def response(self, status: int, media: str = JSON_MEDIA) -> ResponseValidator | None:
        """Return the validator of an answer; None if the edition describes none."""
        for key in (str(status), f"{status // 100}XX", "default"):
            if key in self.responses:
                return self.responses[key].get(media)
        return None


def operation(
    path: str,
    method: str,
    spec: Mapping[str, Any],
    components: Components,
    object_fields: frozenset[str] = frozenset(),
    creation_fields: frozenset[str] = frozenset(),
) -> Operation:
    """Make the operation that a normalized document describes at `path`, fixed query and all."""
    plain, _, fixed = path.partition("?")
    parameters = tuple(parameter(one) for one in spec.get("parameters", ()))
    body = spec.get("requestBody", {})
    bodies = {
        media: Body(media, one.get("schema"), components, object_fields, creation_fields)
        for media, one in body.get("content", {}).items()
    }
    path_names = tuple(one[1:-1] for one in plain.split("/") if one.startswith("{"))
    return Operation(
        id=spec["operationId"],
        name=python_name(spec["operationId"]),
        method=method.upper(),
        path=plain,
        query=dict(split_query(fixed.encode())),
        tags=tuple(spec.get("tags", ())),
        parameters=parameters,
        bodies=bodies,
        body_required=body.get("required", False),
        responses={status: _answers(one, components) for status, one in spec["responses"].items()},
        own=spec.get("x-astrolabe", False),
        path_names=path_names,
        _path=Fields(
            (one for one in parameters if one.location == "path" and one.name in path_names), components
        ),
        _query=Fields((one for one in parameters if one.location == "query"), components),
    )


def _answers(spec: Mapping[str, Any], components: Components) -> dict[str, ResponseValidator | None]:
    content = spec.get("content", {})
    return {
        media: ResponseValidator(one["schema"], components) if "schema" in one and "json" in media else None
        for media, one in content.items()
    }
