"""The table of handlers, in which each is registered under its operationId by `@operation`."""

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import handlers
from spec.names import python_name

Handle = Callable[..., Any]
Function = TypeVar("Function", bound=Handle)


@dataclass(frozen=True, slots=True)
class Registered:
    """A registered handler.

    `parameters` are the names of its arguments, None if it takes any. With `cancel_on_disconnect` the
    call is cancelled when the client disconnects.
    """

    operation_id: str
    handle: Handle
    parameters: frozenset[str] | None
    cancel_on_disconnect: bool


_registered: dict[str, Registered] = {}


def operation(operation_id: str, *, cancel_on_disconnect: bool = False) -> Callable[[Function], Function]:
    """Register a coroutine as the handler of an operation."""

    def register(function: Function) -> Function:
        name = python_name(operation_id)
        if name in _registered:
            raise RuntimeError(
                f"operation {operation_id} has two handlers: {_where(_registered[name].handle)} and "
                f"{_where(function)}; remove one"
            )
        _registered[name] = Registered(operation_id, function, _parameters(function), cancel_on_disconnect)
        return function

    return register


def registered_handlers() -> Mapping[str, Registered]:
    """Import every module of handlers and return what they registered, by the operations' Python names."""
    for module in pkgutil.iter_modules(handlers.__path__, handlers.__name__ + "."):
        importlib.import_module(module.name)
    return _registered


def _parameters(function: Handle) -> frozenset[str] | None:
    parameters = inspect.signature(function).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return None
    return frozenset(parameter.name for parameter in parameters)


def _where(function: Handle) -> str:
    return f"{function.__module__}.{function.__qualname__}"
