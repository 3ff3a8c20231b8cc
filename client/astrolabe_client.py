"""A client of Astrolabe: OpenAI's SDK with the server's extensions, and assistants that call your functions.

    client = Astrolabe()
    assistant = AssistantManager(client, model="gpt-4o-mini", tools=[get_weather])
    print(assistant.run("What is the weather in Paris?").text)

Its README has an example of everything.
"""

import asyncio
import contextvars
import functools
import inspect
import json
import os
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, Required, Self, TypedDict, Unpack, cast

from openai import (
    AsyncOpenAI,
    AsyncStream,
    DefaultAsyncHttpxClient,
    DefaultHttpxClient,
    OpenAI,
    OpenAIError,
    Stream,
)
from openai.pagination import AsyncCursorPage, SyncCursorPage
from openai.types import FileObject
from openai.types.beta import AssistantStreamEvent, Thread
from openai.types.beta.threads import Message, Run
from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json

__all__ = [
    "AssistantManager",
    "Astrolabe",
    "AsyncAssistantManager",
    "AsyncAstrolabe",
    "AsyncReplyStream",
    "ManagerOptions",
    "Reply",
    "ReplyStream",
    "RunFailed",
    "TooManyRounds",
    "Tool",
    "ToolCall",
    "provider_headers",
]
__version__ = "0.4.0"

MAX_ROUNDS = 10
NO_KEY = "none"
"""Stands for no key, as the SDK needs one; not sent, as a server in astra mode asks providers with it."""
DEFAULT_URL = "http://127.0.0.1:8080/v1"
SECRET_PREFIXES = ("astra-", "llm-param-", "embedding-param-")

Order = Literal["asc", "desc"]
_EVENT: Any = AssistantStreamEvent  # a union, which the SDK reads and its types do not allow
JSON = dict[str, Any]


class RunFailed(OpenAIError):
    """A run ended without an answer; `run` has its status and `last_error`."""

    def __init__(self, run: Run) -> None:
        why = run.incomplete_details.reason if run.incomplete_details else None
        reason = run.last_error.message if run.last_error else why or "no reason was given"
        super().__init__(f"Run {run.id} ended as {run.status}: {reason}")
        self.run = run


class TooManyRounds(OpenAIError):
    """A model asked for tools in more than `max_rounds` rounds; `run` was cancelled."""

    def __init__(self, run: Run, rounds: int) -> None:
        super().__init__(f"Run {run.id} asked for tools again after {rounds} rounds; raise max_rounds")
        self.run = run


# --- provider settings ---

PROVIDER_VARIABLES: Mapping[str, Mapping[str, str]] = {
    "azure": {
        "api-key": "AZURE_API_KEY",
        "base-url": "AZURE_API_BASE",
        "api-version": "AZURE_API_VERSION",
    },
    "bedrock": {
        "aws-access-key-id": "AWS_ACCESS_KEY_ID",
        "aws-secret-access-key": "AWS_SECRET_ACCESS_KEY",
        "aws-region-name": "AWS_REGION_NAME",
    },
    "ollama": {"base-url": "OLLAMA_API_BASE"},
    "openai": {},  # its key is the client's own
    "perplexity": {"api-key": "PERPLEXITYAI_API_KEY"},
    "together_ai": {"api-key": "TOGETHERAI_API_KEY"},
    "vertex_ai": {"vertex-project": "VERTEXAI_PROJECT", "vertex-location": "VERTEXAI_LOCATION"},
    "watsonx": {
        "api-key": "WATSONX_API_KEY",
        "base-url": "WATSONX_API_BASE",
        "project-id": "WATSONX_PROJECT_ID",
    },
}
"""Parameters of providers and the variables that hold them; of any other provider, PROVIDER_API_KEY."""

FAMILIES = {"claude": "anthropic", "gemini": "gemini", "command": "cohere", "embed-": "cohere"}
"""Providers of models that are named without one, by how the name begins."""


def provider_headers(model: str, prefix: str = "LLM-PARAM-") -> dict[str, str]:
    """Return the headers that give the server the settings of a model's provider.

    `prefix` is `EMBEDDING-PARAM-` for an embedding model. A variable that is not set sends no header.
    """
    provider, slash, _ = model.partition("/")
    if not slash:
        provider = next((one for start, one in FAMILIES.items() if model.startswith(start)), "openai")
    provider = provider.removesuffix("_chat")
    variables = PROVIDER_VARIABLES.get(provider)
    if variables is None:
        variables = {"api-key": f"{provider.replace('-', '_').upper()}_API_KEY"}
    values = {parameter: os.environ.get(variable) for parameter, variable in variables.items()}
    return {prefix + parameter: value for parameter, value in values.items() if value}


def _embedding_headers(model: str | None) -> dict[str, str]:
    return {"embedding-model": model, **provider_headers(model, "EMBEDDING-PARAM-")} if model else {}


def _options(
    arguments: JSON,
    astra_token: str | None,
    astra_db_id: str | None,
) -> JSON:
    """Return the arguments of an OpenAI client, completed from the environment."""
    environ = os.environ.get
    if arguments.get("base_url") is None:
        arguments["base_url"] = environ("ASTROLABE_BASE_URL") or DEFAULT_URL
    if arguments.get("api_key") is None:
        arguments["api_key"] = environ("ASTROLABE_API_KEY") or environ("OPENAI_API_KEY") or NO_KEY
    given = {
        "astra-api-token": astra_token or environ("ASTRA_DB_APPLICATION_TOKEN"),
        "astra-db-id": astra_db_id or environ("ASTRA_DB_ID"),
    }
    headers = {name: value for name, value in given.items() if value}
    arguments["default_headers"] = {**headers, **(arguments.get("default_headers") or {})}
    return arguments


class _Keys:
    """Sets the headers of each request: the keys of its model's provider, and none to other hosts."""

    def __init__(self, base_url: object) -> None:
        self._base_url = str(base_url)

    def add(self, request: Any) -> None:
        """Add the provider's settings where the body names a model; `request` is httpx's."""
        if request.headers.get("authorization") == f"Bearer {NO_KEY}":
            del request.headers["authorization"]
        if not self._is_own(request.url):
            for name in [name for name in request.headers if name.lower().startswith(SECRET_PREFIXES)]:
                del request.headers[name]
            return
        if not request.headers.get("content-type", "").startswith("application/json"):
            return
        body = json.loads(request.content or b"{}")
        model = body.get("model") if isinstance(body, dict) else None
        if not isinstance(model, str):
            return
        is_embedding = request.url.path.endswith("/embeddings")
        prefix = "EMBEDDING-PARAM-" if is_embedding else "LLM-PARAM-"
        for name, value in provider_headers(model, prefix).items():
            request.headers.setdefault(name, value)

    async def add_async(self, request: Any) -> None:
        """Do the same for an asynchronous client."""
        self.add(request)

    def _is_own(self, url: Any) -> bool:
        own = type(url)(self._base_url)
        return (url.scheme, url.host, url.port) == (own.scheme, own.host, own.port)


# --- the clients ---


class Astrolabe(OpenAI):
    """OpenAI's client, of an Astrolabe server.

    Takes what `OpenAI` takes. `base_url`, `api_key` and Astra's token and database come from
    ASTROLABE_BASE_URL, ASTROLABE_API_KEY (or OPENAI_API_KEY), ASTRA_DB_APPLICATION_TOKEN and
    ASTRA_DB_ID. A request that names a model carries its provider's key, from the provider's own variable.
    """

    def __init__(
        self, *, astra_token: str | None = None, astra_db_id: str | None = None, **arguments: Any
    ) -> None:
        arguments = _options(arguments, astra_token, astra_db_id)
        if arguments.get("http_client") is None:
            keys = _Keys(arguments["base_url"])
            arguments["http_client"] = DefaultHttpxClient(event_hooks={"request": [keys.add]})
        super().__init__(**arguments)

    def for_model(self, model: str, embedding_model: str | None = None) -> Self:
        """Return a client whose requests carry the settings of these models' providers.

        For runs, whose requests do not name the assistant's model.
        """
        headers = {**provider_headers(model), **_embedding_headers(embedding_model)}
        return self.with_options(default_headers=headers)

    def list_threads(
        self, *, limit: int = 20, order: Order = "desc", after: str | None = None, before: str | None = None
    ) -> SyncCursorPage[Thread]:
        """Return a page of threads, which OpenAI cannot list; iterating it fetches the next ones."""
        query = _query(limit=limit, order=order, after=after, before=before)
        return self.get_api_list(
            "/threads", model=Thread, page=SyncCursorPage[Thread], options={"params": query}
        )

    def update_message(self, message_id: str, *, thread_id: str, **changes: Any) -> Message:
        """Change a message: its `metadata`; in astra mode also `content`, `role` and `attachments`."""
        return self.post(f"/threads/{thread_id}/messages/{message_id}", body=changes, cast_to=Message)

    def upload(
        self, file: Any, *, embedding_model: str | None = None, purpose: Any = "assistants", **arguments: Any
    ) -> FileObject:
        """Upload a file; in astra mode, for vector stores of that embedding model."""
        headers = _embedding_headers(embedding_model)
        return self.files.create(file=file, purpose=purpose, extra_headers=headers, **arguments)

    def run_events(
        self, run_id: str, *, thread_id: str, starting_after: int = -1
    ) -> Stream[AssistantStreamEvent]:
        """Return a run's events after that number, from the beginning if none is named, until its end."""
        return self.get(
            f"/threads/{thread_id}/runs/{run_id}/events",
            options={"params": {"starting_after": starting_after}},
            cast_to=_EVENT,
            stream=True,
            stream_cls=Stream[AssistantStreamEvent],
        )


class AsyncAstrolabe(AsyncOpenAI):
    """The asynchronous client; see `Astrolabe`."""

    def __init__(
        self, *, astra_token: str | None = None, astra_db_id: str | None = None, **arguments: Any
    ) -> None:
        arguments = _options(arguments, astra_token, astra_db_id)
        if arguments.get("http_client") is None:
            keys = _Keys(arguments["base_url"])
            arguments["http_client"] = DefaultAsyncHttpxClient(event_hooks={"request": [keys.add_async]})
        super().__init__(**arguments)

    def for_model(self, model: str, embedding_model: str | None = None) -> Self:
        """Return a client whose requests carry the settings of these models' providers."""
        headers = {**provider_headers(model), **_embedding_headers(embedding_model)}
        return self.with_options(default_headers=headers)

    async def list_threads(
        self, *, limit: int = 20, order: Order = "desc", after: str | None = None, before: str | None = None
    ) -> AsyncCursorPage[Thread]:
        """Return a page of threads, which OpenAI cannot list; iterating it fetches the next ones."""
        query = _query(limit=limit, order=order, after=after, before=before)
        return await self.get_api_list(
            "/threads", model=Thread, page=AsyncCursorPage[Thread], options={"params": query}
        )

    async def update_message(self, message_id: str, *, thread_id: str, **changes: Any) -> Message:
        """Change a message: its `metadata`; in astra mode also `content`, `role` and `attachments`."""
        return await self.post(f"/threads/{thread_id}/messages/{message_id}", body=changes, cast_to=Message)

    async def upload(
        self, file: Any, *, embedding_model: str | None = None, purpose: Any = "assistants", **arguments: Any
    ) -> FileObject:
        """Upload a file; in astra mode, for vector stores of that embedding model."""
        headers = _embedding_headers(embedding_model)
        return await self.files.create(file=file, purpose=purpose, extra_headers=headers, **arguments)

    async def run_events(
        self, run_id: str, *, thread_id: str, starting_after: int = -1
    ) -> AsyncStream[AssistantStreamEvent]:
        """Return a run's events after that number, from the beginning if none is named, until its end."""
        return await self.get(
            f"/threads/{thread_id}/runs/{run_id}/events",
            options={"params": {"starting_after": starting_after}},
            cast_to=_EVENT,
            stream=True,
            stream_cls=AsyncStream[AssistantStreamEvent],
        )


def _query(**parameters: Any) -> JSON:
    return {name: value for name, value in parameters.items() if value is not None}


# --- tools ---


@dataclass(frozen=True)
class Tool:
    """A function that a model may call.

    Its name, docstring and type hints are what the model reads; describe a parameter with
    `Annotated[str, Field(description="…")]`.
    """

    function: Callable[..., Any]
    adapter: TypeAdapter[Any] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "adapter", TypeAdapter(cast("Any", self.function)))

    @property
    def name(self) -> str:
        """The function's name."""
        return self.function.__name__

    def definition(self) -> JSON:
        """Return the tool as the API takes it."""
        parameters = self.adapter.json_schema()
        if parameters.get("type") != "object":
            raise TypeError(f"{self.name}: a tool's parameters have names; remove *args and positional-only")
        function = {"name": self.name, "parameters": parameters}
        if description := inspect.getdoc(self.function):
            function["description"] = description
        return {"type": "function", "function": function}

    def call(self, arguments: str) -> Any:
        """Check the arguments, in JSON, and call the function with them."""
        return self.adapter.validate_json(arguments or "{}")


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call that was answered; `error` is what its function raised, if it did."""

    id: str
    name: str
    arguments: str
    output: str
    error: Exception | None = None


@dataclass(slots=True)
class Reply:
    """The answer to one message: its text, the calls that led to it, and the run."""

    text: str = ""
    calls: list[ToolCall] = field(default_factory=list)
    _run: Run | None = None

    @property
    def run(self) -> Run:
        """The run; while the reply is streamed, as it was last seen."""
        if self._run is None:
            raise OpenAIError("The run has not begun: read the stream first")
        return self._run

    def add(self, event: AssistantStreamEvent) -> str:
        """Take over what an event of the run says; return the text in it."""
        if event.event.startswith("thread.run.") and ".step." not in event.event:
            self._run = cast("Run", event.data)
        if event.event != "thread.message.delta":
            return ""
        parts = event.data.delta.content or ()
        text = "".join(part.text.value or "" for part in parts if part.type == "text" and part.text)
        self.text += text
        return text


def _output(value: Any) -> str:
    return value if isinstance(value, str) else to_json(value).decode()


def _failed(exc: Exception) -> str:
    """Return what the model reads of a function that failed, or of arguments that do not fit."""
    if isinstance(exc, ValidationError):
        faults = exc.errors(include_url=False, include_context=False, include_input=False)
        return "Error: " + "; ".join(": ".join([*map(str, one["loc"]), one["msg"]]) for one in faults)
    return f"Error: {type(exc).__name__}: {exc}"


class ManagerOptions(TypedDict, total=False):
    """The options of both managers. `tools` are functions, and tools of the API as dicts."""

    model: Required[str]
    instructions: str | None
    name: str | None
    tools: Iterable[Callable[..., Any] | Mapping[str, Any]]
    tool_resources: JSON | None
    assistant_id: str | None
    thread_id: str | None
    embedding_model: str | None
    max_rounds: int


ASSISTANT_OPTIONS: tuple[Literal["instructions", "name", "tool_resources"], ...] = (
    "instructions",
    "name",
    "tool_resources",
)


class _Manager:
    """What both managers know: the assistant, its thread, its tools and the bound of rounds."""

    def __init__(self, **options: Unpack[ManagerOptions]) -> None:
        tools = list(options.get("tools", ()))
        functions = [Tool(one) for one in tools if callable(one)]
        self.tools = {tool.name: tool for tool in functions}
        if len(self.tools) < len(functions):
            raise ValueError(f"Two tools have one name: {', '.join(tool.name for tool in functions)}")
        self.model, self.embedding_model = options["model"], options.get("embedding_model")
        self.assistant_id, self.thread_id = options.get("assistant_id"), options.get("thread_id")
        self.max_rounds = options.get("max_rounds", MAX_ROUNDS)
        hosted = [dict(one) for one in tools if isinstance(one, Mapping)]
        self._assistant: JSON = {
            "model": self.model,
            "tools": [*hosted, *(tool.definition() for tool in functions)],
            **{name: options[name] for name in ASSISTANT_OPTIONS if options.get(name) is not None},
        }

    def _pending(self, reply: Reply, rounds: int) -> list[Any]:
        """Return the calls that the run waits for; raise RunFailed or TooManyRounds."""
        run = reply.run
        if run.status == "completed":
            return []
        if run.status != "requires_action" or run.required_action is None:
            raise RunFailed(run)
        if rounds >= self.max_rounds:
            raise TooManyRounds(run, rounds)
        return list(run.required_action.submit_tool_outputs.tool_calls)

    def _start(self, call: Any) -> Any:
        """Call the function that a model asks for; of an async function, return its coroutine."""
        tool = self.tools.get(call.function.name)
        if tool is None:
            raise LookupError(f"There is no tool named {call.function.name!r}; call {', '.join(self.tools)}")
        return tool.call(call.function.arguments)


def _answered(call: Any, output: Any, error: Exception | None = None) -> ToolCall:
    text = _failed(error) if error is not None else _output(output)
    return ToolCall(call.id, call.function.name, call.function.arguments, text, error)


def _outputs(calls: Sequence[ToolCall]) -> list[Any]:
    return [{"tool_call_id": call.id, "output": call.output} for call in calls]


class ReplyStream:
    """Pieces of a text as they arrive; `reply` is complete when they end.

    Leaving the `with` block early closes the connection; the run goes on.
    """

    def __init__(self, pieces: Callable[[Reply], Iterator[str]]) -> None:
        self.reply = Reply()
        self._pieces = pieces(self.reply)

    def __iter__(self) -> Iterator[str]:
        return self._pieces

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, at: TracebackType | None
    ) -> None:
        self._pieces.close()  # type: ignore[attr-defined]


class AsyncReplyStream:
    """Pieces of a text as they arrive; see `ReplyStream`."""

    def __init__(self, pieces: Callable[[Reply], AsyncIterator[str]]) -> None:
        self.reply = Reply()
        self._pieces = pieces(self.reply)

    def __aiter__(self) -> AsyncIterator[str]:
        return self._pieces

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, at: TracebackType | None
    ) -> None:
        await self._pieces.aclose()  # type: ignore[attr-defined]


# --- assistants ---


class AssistantManager(_Manager):
    """An assistant, a thread, and Python functions that the model may call.

    The assistant and the thread are created when they are first needed, unless their ids are given.
    Calls of one round run side by side in threads. What a function raises is given to the model, which
    may try again, in `max_rounds` rounds at most.
    """

    def __init__(self, client: Astrolabe, **options: Unpack[ManagerOptions]) -> None:
        super().__init__(**options)
        self.client = client.for_model(self.model, self.embedding_model)

    def run(self, content: Any, *, thread_id: str | None = None, **options: Any) -> Reply:
        """Add a message, run the assistant, and return its reply; `options` are those of `runs.create`."""
        with self.stream(content, thread_id=thread_id, **options) as stream:
            for _ in stream:
                pass
        return stream.reply

    def stream(self, content: Any, *, thread_id: str | None = None, **options: Any) -> ReplyStream:
        """Return the reply as a stream of pieces of its text."""
        return ReplyStream(lambda reply: self._follow(reply, content, thread_id, options))

    def delete(self) -> None:
        """Delete the assistant and the thread; their ids are forgotten."""
        if self.assistant_id is not None:
            self.client.beta.assistants.delete(self.assistant_id)
        if self.thread_id is not None:
            self.client.beta.threads.delete(self.thread_id)
        self.assistant_id = self.thread_id = None

    def _follow(self, reply: Reply, content: Any, thread_id: str | None, options: JSON) -> Iterator[str]:
        runs = self.client.beta.threads.runs
        thread_id = thread_id or self._ready()
        self.client.beta.threads.messages.create(thread_id=thread_id, role="user", content=content)
        events = runs.create(thread_id=thread_id, assistant_id=self._created(), stream=True, **options)
        for rounds in range(self.max_rounds + 1):
            with events:
                for event in events:
                    if text := reply.add(event):
                        yield text
            calls = self._calls(reply, rounds)
            if not calls:
                return
            reply.calls += (answered := self._answer(calls))
            events = runs.submit_tool_outputs(
                reply.run.id, thread_id=thread_id, tool_outputs=_outputs(answered), stream=True
            )

    def _calls(self, reply: Reply, rounds: int) -> list[Any]:
        try:
            return self._pending(reply, rounds)
        except TooManyRounds as exc:
            self.client.beta.threads.runs.cancel(exc.run.id, thread_id=exc.run.thread_id)
            self.client.beta.threads.runs.poll(exc.run.id, thread_id=exc.run.thread_id)
            raise

    def _answer(self, calls: Sequence[Any]) -> list[ToolCall]:
        if len(calls) == 1:
            return [self._call(calls[0])]
        with ThreadPoolExecutor(max_workers=len(calls)) as threads:
            waiting = [threads.submit(contextvars.copy_context().run, self._call, call) for call in calls]
            return [one.result() for one in waiting]

    def _call(self, call: Any) -> ToolCall:
        try:
            output = self._start(call)
            if inspect.iscoroutine(output):
                output = asyncio.run(output)
            return _answered(call, output)
        except Exception as exc:  # noqa: BLE001 - the model reads it
            return _answered(call, None, exc)

    def _created(self) -> str:
        if self.assistant_id is None:
            self.assistant_id = self.client.beta.assistants.create(**self._assistant).id
        return self.assistant_id

    def _ready(self) -> str:
        if self.thread_id is None:
            self.thread_id = self.client.beta.threads.create().id
        return self.thread_id


class AsyncAssistantManager(_Manager):
    """The asynchronous manager; see `AssistantManager`.

    Functions that are not async run in threads, so that they do not hold up the event loop.
    """

    def __init__(self, client: AsyncAstrolabe, **options: Unpack[ManagerOptions]) -> None:
        super().__init__(**options)
        self.client = client.for_model(self.model, self.embedding_model)
        self._creating = asyncio.Lock()

    async def run(self, content: Any, *, thread_id: str | None = None, **options: Any) -> Reply:
        """Add a message, run the assistant, and return its reply; `options` are those of `runs.create`."""
        async with self.stream(content, thread_id=thread_id, **options) as stream:
            async for _ in stream:
                pass
        return stream.reply

    def stream(self, content: Any, *, thread_id: str | None = None, **options: Any) -> AsyncReplyStream:
        """Return the reply as a stream of pieces of its text."""
        return AsyncReplyStream(lambda reply: self._follow(reply, content, thread_id, options))

    async def delete(self) -> None:
        """Delete the assistant and the thread; their ids are forgotten."""
        if self.assistant_id is not None:
            await self.client.beta.assistants.delete(self.assistant_id)
        if self.thread_id is not None:
            await self.client.beta.threads.delete(self.thread_id)
        self.assistant_id = self.thread_id = None

    async def _follow(
        self, reply: Reply, content: Any, thread_id: str | None, options: JSON
    ) -> AsyncIterator[str]:
        runs = self.client.beta.threads.runs
        async with self._creating:
            thread_id = thread_id or await self._ready()
            assistant_id = await self._created()
        await self.client.beta.threads.messages.create(thread_id=thread_id, role="user", content=content)
        events = await runs.create(thread_id=thread_id, assistant_id=assistant_id, stream=True, **options)
        for rounds in range(self.max_rounds + 1):
            async with events:
                async for event in events:
                    if text := reply.add(event):
                        yield text
            calls = await self._calls(reply, rounds)
            if not calls:
                return
            reply.calls += (answered := await asyncio.gather(*map(self._call, calls)))
            events = await runs.submit_tool_outputs(
                reply.run.id, thread_id=thread_id, tool_outputs=_outputs(answered), stream=True
            )

    async def _calls(self, reply: Reply, rounds: int) -> list[Any]:
        try:
            return self._pending(reply, rounds)
        except TooManyRounds as exc:
            await self.client.beta.threads.runs.cancel(exc.run.id, thread_id=exc.run.thread_id)
            await self.client.beta.threads.runs.poll(exc.run.id, thread_id=exc.run.thread_id)
            raise

    async def _call(self, call: Any) -> ToolCall:
        try:
            tool = self.tools.get(call.function.name)
            is_async = tool is not None and inspect.iscoroutinefunction(tool.function)
            start = functools.partial(self._start, call)
            output = await start() if is_async else await asyncio.to_thread(start)
            return _answered(call, output)
        except Exception as exc:  # noqa: BLE001 - the model reads it
            return _answered(call, None, exc)

    async def _created(self) -> str:
        if self.assistant_id is None:
            self.assistant_id = (await self.client.beta.assistants.create(**self._assistant)).id
        return self.assistant_id

    async def _ready(self) -> str:
        if self.thread_id is None:
            self.thread_id = (await self.client.beta.threads.create()).id
        return self.thread_id
