"""Validators of requests and responses, compiled on first use over their own closure of schemas.

One validator over all 1,422 components costs 20 s and 4.4 GB; one per body over what it refers to
costs less than a millisecond and 250 kB.
"""

from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any, ClassVar

import jsonschema_rs

from spec.allow_null import allow_null
from spec.errors import InvalidRequest, InvalidResponse
from spec.explain import explain, explain_length, missing_paths
from spec.forbid_extra import forbid_extra
from spec.long_strings import too_long
from spec.names import restore_schema_name
from spec.nulls import remove_nulls
from spec.shrink import Path, is_small, named_path, shrink, value_at
from spec.types import JSON

Components = Mapping[str, Any]

# More faults than this do not help to find the intended branch of a union.
_FAULTS = 200

# A completed object may have missing properties of its own.
_PASSES = 3

# Completing collects all errors of an answer, at up to half a millisecond each.
_LARGEST = 5000


# International ones too, as browsers take them.
_URL = jsonschema_rs.Draft202012Validator({"format": "iri"}, validate_formats=True)


def _is_url(text: str) -> bool:
    # A data: URL is most often an image of megabytes, which takes 3 ms each to be looked through.
    return text.startswith("data:") or _URL.is_valid(text)


class Validator:
    """A schema that is compiled on first use."""

    __slots__ = ("_compiled", "_components", "_schema")

    formats: ClassVar[Mapping[str, Callable[[str], bool]]] = {}

    def __init__(self, schema: Any, components: Components) -> None:
        self._schema = schema
        self._components = components
        self._compiled: jsonschema_rs.Draft202012Validator | None = None

    def transformed(self) -> JSON:
        """Return the schema with all that it refers to, as it is compiled."""
        raise NotImplementedError

    def compile(self) -> jsonschema_rs.Draft202012Validator:
        """Return the compiled validator; compile it if necessary."""
        if self._compiled is None:
            formats = dict(self.formats)
            self._compiled = jsonschema_rs.Draft202012Validator(
                self.transformed(), formats=formats, validate_formats=bool(formats)
            )
        return self._compiled

    def is_valid(self, value: Any) -> bool:
        """Return whether `value`, plain JSON data, fits."""
        return (self._compiled or self.compile()).is_valid(value)

    def _fault(self, value: Any) -> tuple[str, str | None, str] | None:
        """Return (message, param, code) of what is wrong with `value`; None if it fits."""
        compiled = self._compiled or self.compile()
        try:
            if compiled.is_valid(value):
                return None
            found = too_long(value, compiled.is_valid, self.transformed)
            if found is not None:
                return explain_length(*found, value)
            small = shrink(value, compiled.is_valid)
            return explain(list(islice(compiled.iter_errors(small.value), _FAULTS)), value, small)
        except (ValueError, RecursionError):
            return "Invalid body: it contains values that JSON cannot represent.", None, "invalid_value"


class RequestValidator(Validator):
    """Refuses what the schema forbids, and unknown fields."""

    __slots__ = ()

    formats = {"uri": _is_url}  # noqa: RUF012 - typed where it is declared

    def transformed(self) -> JSON:
        """Return the schema without room for unknown fields, with all that it refers to."""
        return forbid_extra(self._schema, self._components)

    def check(self, value: Any) -> None:
        """Raise InvalidRequest, naming the field, unless `value` fits.

        Null in an optional field means absent: where the schema does not allow it, it is removed.
        """
        compiled = self._compiled or self.compile()
        if compiled.is_valid(value):
            return
        restore_schema_name(value)
        remove_nulls(value, self._schema, self._components)
        fault = self._fault(value)
        if fault is not None:
            raise InvalidRequest(*fault)


class ResponseValidator(Validator):
    """Accepts null for what is optional, as OpenAI's service sends it."""

    __slots__ = ("_relayed", "_unknown")

    def __init__(self, schema: Any, components: Components, *, unknown: bool = False) -> None:
        super().__init__(schema, components)
        self._unknown = unknown
        self._relayed: ResponseValidator | None = None

    def transformed(self) -> JSON:
        """Return the schema with null allowed in optional properties, with all that it refers to."""
        return allow_null(self._schema, self._components, unknown=self._unknown)

    @property
    def relayed(self) -> "ResponseValidator":
        """Return the validator of the same answer from a provider, which may have unknown properties."""
        if self._unknown:
            return self
        if self._relayed is None:
            self._relayed = ResponseValidator(self._schema, self._components, unknown=True)
        return self._relayed

    def check(self, value: Any) -> None:
        """Raise InvalidResponse, naming the property, unless `value` fits."""
        fault = self._fault(value)
        if fault is not None:
            raise InvalidResponse(fault[0], fault[1])

    def complete(self, value: Any) -> bool:
        """Set required properties to null, in place, if a provider omitted them and null is allowed.

        Providers omit `refusal` or `logprobs`, which OpenAI's clients expect. Properties that may
        not be null stay missing, for `check` to report. Very large answers are left alone.
        Return True where the answer is known to fit, so that it needs no `check`.
        """
        compiled = self._compiled or self.compile()
        refused: set[Path] = set()
        for _ in range(_PASSES):
            if compiled.is_valid(value):
                return True
            if not is_small(value, _LARGEST):
                return False
            errors = islice(compiled.iter_errors(value), _FAULTS)
            paths = (named_path(path, value) for error in errors for path in missing_paths(error))
            added = {path for path in paths if isinstance(value_at(value, path[:-1]), dict)} - refused
            for path in added:
                value_at(value, path[:-1])[path[-1]] = None
            errors = islice(compiled.iter_errors(value), _FAULTS)
            wrong = {named_path(tuple(error.instance_path), value) for error in errors} & added
            for path in wrong:
                del value_at(value, path[:-1])[path[-1]]
            refused |= wrong
            if added == wrong:
                return False
        return False
