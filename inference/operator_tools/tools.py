"""Tools of the operator, as servers of the same kind as MCP servers."""

import asyncio
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import cached_property
from http import HTTPStatus
from typing import Any

import jsonschema_rs
import orjson
import structlog
import yarl

from inference.errors import InferenceError, ProviderError
from inference.gateway.http.http_client import Timeouts
from inference.gateway.http.web_client import WebClient
from inference.mcp.errors import ServerFailed
from inference.mcp.results import CallResult, call_result
from persistence.types import JSON

CONNECT_SECONDS = 5.0
SECONDS = 60.0
"""Of a call, unless the operator's file has another `timeout`."""

MAX_RESULT = 1024 * 1024
"""Bytes of what a tool returns."""

SHOWN = 2000
"""Characters of an endpoint's error that the model reads."""

THREADS = 16
"""Functions that are not coroutines and run at the same time in one worker."""

log = structlog.get_logger("astrolabe.tools")


class ToolFailed(InferenceError):
    """A call failed; the message is for the model and the caller."""


@dataclass(frozen=True, slots=True)
class CallContext:
    """Whose call it is: the project, and the thread or conversation, "" for none."""

    project: str
    conversation: str = ""


Function = Callable[[JSON, CallContext], Any]


@dataclass(frozen=True)
class OperatorTool(ABC):
    """A tool: what the model knows of it, and how a call is run within `seconds`."""

    name: str
    description: str
    parameters: JSON
    seconds: float

    @cached_property
    def _validator(self) -> jsonschema_rs.Draft202012Validator:
        return jsonschema_rs.Draft202012Validator(self.parameters)

    def shown(self) -> JSON:
        """Return the tool as an item of the type mcp_list_tools has it."""
        tool = {"name": self.name, "description": self.description, "input_schema": self.parameters}
        return {**tool, "annotations": None}

    async def call(self, arguments: JSON, context: CallContext) -> str:
        """Return what the model reads; ToolFailed."""
        error = next(self._validator.iter_errors(arguments), None)
        if error is not None:
            where = ".".join(map(str, error.instance_path))
            raise ToolFailed(
                f"The arguments do not fit the tool's schema: {where and where + ': '}{error.message}"
            )
        try:
            async with asyncio.timeout(self.seconds):
                result = await self.answer(arguments, context)
        except TimeoutError as exc:
            raise ToolFailed(f"The tool did not answer within {self.seconds:g} seconds.") from exc
        if len(result.encode()) > MAX_RESULT:
            raise ToolFailed(f"The tool's result has more than {MAX_RESULT} bytes.")
        return result

    @abstractmethod
    async def answer(self, arguments: JSON, context: CallContext) -> str:
        """Return what the tool answers; ToolFailed."""


@dataclass(frozen=True)
class PythonTool(OperatorTool):
    """A function of the operator; one that is not a coroutine runs in a thread."""

    function: Function
    threads: ThreadPoolExecutor

    async def answer(self, arguments: JSON, context: CallContext) -> str:
        """Call the function; a result that is not a text is given as JSON."""
        try:
            if inspect.iscoroutinefunction(self.function):
                result = await self.function(arguments, context)
            else:
                loop = asyncio.get_running_loop()
                result = await loop.run_in_executor(self.threads, self.function, arguments, context)
            return result if isinstance(result, str) else orjson.dumps(result).decode()
        except asyncio.CancelledError:
            raise
        except Exception as exc:  # the operator's code may raise anything
            log.exception("operator_tool_failed", tool=self.name)
            raise ToolFailed(f"The tool failed: {type(exc).__name__}: {exc}"[:SHOWN]) from exc


@dataclass(frozen=True)
class HttpTool(OperatorTool):
    """An endpoint of the operator: it gets the arguments as the JSON of a POST."""

    url: str
    headers: Mapping[str, str] = field(repr=False)
    client: WebClient

    async def answer(self, arguments: JSON, context: CallContext) -> str:
        """Post the arguments; the body of a 2xx is the result, whatever its type."""
        headers = {
            "content-type": "application/json",
            "accept-encoding": "identity",
            "user-agent": "astrolabe",
        }
        headers |= {"x-astrolabe-project": context.project, **self.headers}
        if context.conversation:
            headers["x-astrolabe-conversation"] = context.conversation
        timeouts = Timeouts(CONNECT_SECONDS, self.seconds)
        try:
            response = await self.client.send(
                "POST", yarl.URL(self.url), headers, orjson.dumps(arguments), timeouts
            )
            async with aclosing(response):
                if not HTTPStatus.OK <= response.status < HTTPStatus.MULTIPLE_CHOICES:
                    said = (await response.start(SHOWN)).decode("utf-8", "replace").strip()
                    log.warning("operator_tool_failed", tool=self.name, status=response.status)
                    raise ToolFailed(f"The tool answered with status {response.status}. {said}".strip())
                return (await response.read(MAX_RESULT)).decode("utf-8", "replace")
        except ProviderError as exc:
            reason = exc.message.replace("The provider's answer", "its answer").replace("The provider", "it")
            log.warning("operator_tool_failed", tool=self.name, reason=reason)
            raise ToolFailed(f"The tool failed: {reason}") from exc


@dataclass(frozen=True, slots=True)
class ToolServer:
    """The tools of one label. It is its own session: there is nothing to connect to."""

    label: str
    tools: Mapping[str, OperatorTool]
    context: CallContext = field(default_factory=lambda: CallContext(""))

    @property
    def is_open(self) -> bool:
        """Whether calls can be run: always."""
        return True

    async def list_tools(self) -> list[JSON]:
        """Return the tools as an item of the type mcp_list_tools has them."""
        return [tool.shown() for tool in self.tools.values()]

    async def call(self, name: str, arguments: JSON) -> CallResult:
        """Call a tool; ServerFailed if there is none of that name."""
        tool = self.tools.get(name)
        if tool is None:
            raise ServerFailed(f"There is no tool '{name}'.")
        try:
            text = await tool.call(arguments, self.context)
        except ToolFailed as exc:
            return CallResult(str(exc), is_error=True)
        return call_result([{"type": "text", "text": text}])

    async def close(self) -> None:
        """Do nothing: the tools live as long as the worker."""
