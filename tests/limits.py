"""Writes the tables of LIMITS.md from the code and the newest edition: `python -m tests.limits`."""

from collections.abc import Iterator
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any

from handlers.registry import registered_handlers
from serving.settings import Settings
from spec.edition import load, shipped
from spec.normalize import normalize
from spec.operation import Operation
from spec.reading import parse

PAGE = Path(__file__).resolve().parent.parent / "LIMITS.md"

SERVER = (
    ("Head of a request", "serving.protocol.MAX_HEAD", "bytes"),
    ("Time of a head", "ASTROLABE_HEAD_TIMEOUT", "seconds"),
    ("Time in which a body must make progress", "ASTROLABE_BODY_TIMEOUT", "seconds"),
    ("Time of a whole body", "ASTROLABE_WHOLE_BODY_TIMEOUT", "seconds"),
    ("Body of a request, files apart", "ASTROLABE_MAX_BODY", "bytes"),
    ("Levels of a JSON body", "spec.body.MAX_DEPTH", ""),
    ("Properties of an object in a JSON body", "spec.body.MAX_PROPERTIES", ""),
    ("Name of a property in a JSON body", "spec.body.MAX_NAME", "characters"),
    ("Bodies that a worker holds together", "ASTROLABE_MAX_HELD_BODIES", "bytes"),
    ("Connections of a worker", "ASTROLABE_MAX_CONNECTIONS", ""),
    ("Databases of Astra tokens that a worker has open", "serving.tenants.MOST_OPEN", ""),
    ("Header with a caller's provider setting", "handlers.credentials.LARGEST", "bytes"),
    ("Fields of a form", "serving.bodies.MAX_FIELDS", ""),
    ("Field of a form", "serving.bodies.MAX_FIELD", "bytes"),
    ("Field of a form that goes to a provider", "serving.bodies.MAX_RELAYED_FIELD", "bytes"),
    ("Message of a provider on a realtime WebSocket", "inference.gateway.realtime.LARGEST_MESSAGE", "bytes"),
    ("Files on their way to providers, of the largest size, in a worker", "serving.app.SPOOLED_FILES", ""),
    ("Audio file for a provider behind litellm", "inference.gateway.http.forms.LARGEST_WHOLE_FILE", "bytes"),
    ("File of one request (OpenAI: the same)", "ASTROLABE_MAX_FILE", "bytes"),
    ("Part of an upload (OpenAI: the same)", "inference.retrieval.uploads.MAX_PART", "bytes"),
    ("Upload (OpenAI: the same)", "inference.retrieval.uploads.MAX_UPLOAD", "bytes"),
    ("Page of a list", "persistence.documents.PAGE_BYTES", "bytes"),
    ("Wait of a write for its turn (SQLite)", "persistence.sqlite.writer.WRITE_TIMEOUT", "seconds"),
    ("Object in the store; half of it on Cassandra", "persistence.documents.MAX_DOCUMENT_BYTES", "bytes"),
    (
        "Tools, and response format, of an assistant or a run, as JSON",
        "handlers.assistants.MAX_DEFINITION",
        "bytes",
    ),
    ("Values of a JSON body", "spec.body.MAX_VALUES", ""),
    ("Objects and arrays of a JSON body", "spec.body.MAX_CONTAINERS", ""),
    ("URL of an image, unless it is a data URL", "handlers.image_urls.MAX_WEB_URL", "characters"),
    ("Request of a stored chat completion", "handlers.stored_completions.MAX_REQUEST", "bytes"),
    ("Image of a message (OpenAI: the same)", "inference.images.MAX_IMAGE", "bytes"),
    ("Images and files in a run's request, as base64", "inference.input_files.MAX_BYTES", "bytes"),
    ("Tools of a response, those in namespaces included", "handlers.response_requests.MAX_TOOLS", ""),
    ("Fields of a response but for `input`, as JSON", "handlers.response_requests.MAX_REPEATED", "bytes"),
    ("Arguments of a call in an item", "inference.responses.items.MAX_ARGUMENTS", "characters"),
    (
        "Responses that run at once on a WebSocket (OpenAI: the same)",
        "serving.websocket_session.MAX_RUNNING",
        "",
    ),
    ("Messages of a WebSocket that wait for their answer", "serving.websocket_session.MAX_WAITING", ""),
    ("Lanes of a WebSocket (OpenAI: the same)", "serving.websocket_session.MAX_LANES", ""),
    ("Age of a WebSocket (OpenAI: the same)", "serving.websocket_session.MAX_SECONDS", "seconds"),
    (
        "Unstored responses that a WebSocket keeps for the next one",
        "inference.responses.memory.MAX_RESPONSES",
        "",
    ),
    ("Items of these responses, as JSON", "inference.responses.memory.MAX_BYTES", "bytes"),
    ("Images that one response or run makes", "inference.image_generation.tool.MOST_BYTES", "bytes"),
    (
        "Generated images of one list, as base64",
        "inference.image_generation.generated_images.MOST_BYTES",
        "bytes",
    ),
    ("Images of one edit (OpenAI: the same)", "inference.image_generation.tool.MOST_INPUTS", ""),
    ("Files by URL (`file_url`) of one request", "inference.gateway.http.url_files.MAX_BYTES", "bytes"),
    ("Time to fetch a file by URL", "inference.gateway.http.url_files.SECONDS", "seconds"),
    ("Redirects of a file by URL", "inference.gateway.http.url_files.MAX_REDIRECTS", ""),
    ("Number of files by URL in one request", "handlers.item_contents.MAX_FILE_URLS", ""),
    ("URL of a file", "inference.gateway.http.url_files.MAX_URL", "characters"),
    ("Id of an item", "inference.responses.items.MAX_ID", "characters"),
    ("Answer of a provider, unless it is streamed", "inference.gateway.gateway.LARGEST_COMPLETION", "bytes"),
    ("Answer of a run, as JSON", "ASTROLABE_MAX_ANSWER", "bytes"),
    ("Items of one answer", "inference.engine.turns.MAX_ITEMS", ""),
    ("Takeovers of a job", "ASTROLABE_MAX_TAKEOVERS", ""),
    ("Requests of a batch (OpenAI: the same)", "inference.batches.validation.MAX_LINES", ""),
    ("Input file of a batch (OpenAI: the same)", "inference.batches.validation.MAX_BYTES", "bytes"),
    ("Line of a batch", "ASTROLABE_MAX_BODY", "bytes"),
    ("`custom_id` of a batch's line", "inference.batches.lines.LONGEST_CUSTOM_ID", "characters"),
    ("Errors that a batch names", "inference.batches.validation.MAX_ERRORS", ""),
    ("Time of a batch (OpenAI: the same)", "inference.batches.batches.WINDOW", "seconds"),
    ("Batches that a worker runs at once", "inference.batches.batches.CONCURRENCY", ""),
    ("Lines of a project's batches at once in a worker", "ASTROLABE_BATCH_LINES_PER_PROJECT", ""),
    ("Lines of batches to one model at once in a worker", "ASTROLABE_BATCH_LINES_PER_MODEL", ""),
    ("Lines of batches at once in a worker", "inference.batches.slots.IN_FLIGHT_BYTES", "bytes"),
    ("Times that a batch's line is sent", "inference.batches.sending.ATTEMPTS", ""),
    ("Time of a code call", "inference.code.limits.SECONDS", "seconds"),
    ("CPU time of a process in a sandbox", "inference.code.limits.CPU_SECONDS", "seconds"),
    ("Processes and threads in a sandbox", "inference.code.limits.PROCESSES", ""),
    ("Folder of files in a sandbox", "inference.code.limits.DISK", "bytes"),
    ("Files in a sandbox, temporary ones included", "inference.code.limits.FILES", ""),
    ("Logs of a code call", "inference.code.call_outputs.MAX_LOGS", "characters"),
    ("Logs of a code call that the model reads", "inference.code.result_texts.MAX_TEXT", "characters"),
    ("Image of a tool's result that the model sees", "inference.images.SEEN_IMAGE", "bytes"),
    ("Images of a tool's results that the model sees in a run", "inference.images.SEEN_IMAGES", "bytes"),
    ("Images of code that a response's items hold", "inference.code.shared_files.INLINE_IMAGES", "bytes"),
    ("Images that one code call shows", "inference.code.call_outputs.MAX_IMAGES", ""),
    ("Wait of a code call for a sandbox of its project", "inference.code.kernels.SLOT_SECONDS", "seconds"),
    ("Files of a container", "inference.code.container_files.MAX_FILES", ""),
    ("Files of a container together", "inference.code.container_files.MAX_BYTES", "bytes"),
    ("Files that a container is created with", "handlers.containers.MAX_FILE_IDS", ""),
    ("Path of a container's file", "inference.code.container_files.MAX_PATH", "bytes"),
    ("Name in a path of a container's file", "inference.code.container_files.MAX_NAME", "bytes"),
    ("Name of a container", "handlers.containers.MAX_NAME", "characters"),
    ("Time after which an idle container expires", "handlers.containers.MAX_EXPIRES_MINUTES", "minutes"),
    ("Sandboxes of a machine", "ASTROLABE_SANDBOXES", ""),
    ("MCP servers of a request", "handlers.mcp_tools.MAX_SERVERS", ""),
    ("Headers and token that a request sends to an MCP server", "handlers.mcp_tools.MAX_SENT", "characters"),
    ("URL of an MCP server", "inference.mcp.servers.MAX_URL", "characters"),
    ("Time to open a session with an MCP server", "inference.mcp.sessions.OPEN_SECONDS", "seconds"),
    ("Time to list an MCP server's tools", "inference.mcp.sessions.LIST_SECONDS", "seconds"),
    ("Time of an MCP call (`timeout` in mcp.yaml)", "inference.mcp.servers.CALL_SECONDS", "seconds"),
    ("Tools of an MCP server", "inference.mcp.sessions.MAX_TOOLS", ""),
    ("List of an MCP server's tools", "inference.mcp.sessions.MAX_LIST_BYTES", "bytes"),
    ("Answer of an MCP server", "inference.mcp.http.MAX_BYTES", "bytes"),
    ("Text of an MCP call's result", "inference.mcp.results.MAX_TEXT", "characters"),
    ("Text of an MCP server's results in a run", "inference.mcp.tool.READ_TEXT", "characters"),
    ("Queries of one web search", "inference.web.web_search.MAX_QUERIES", ""),
    ("Results of one web search", "inference.web.search_services.MAX_RESULTS", ""),
    ("Text of a result of a web search", "inference.web.web_search.MAX_SNIPPET", "characters"),
    ("Answer of a search service", "inference.web.search_services.MAX_ANSWER", "bytes"),
    ("Time of a web search", "inference.web.search_services.SECONDS", "seconds"),
    ("Page of the web", "inference.web.pages.MAX_BYTES", "bytes"),
    ("Text of a page of the web", "inference.web.pages.MAX_TEXT", "characters"),
    ("Passages that are found in a page", "inference.web.pages.MAX_MATCHES", ""),
    ("Pages that a run keeps to read on in them", "inference.web.web_search.KEPT_PAGES", ""),
    ("Time to fetch a page of the web", "inference.gateway.http.url_files.SECONDS", "seconds"),
    ("URLs of the messages that may be opened", "inference.web.urls.MAX_URLS", ""),
    ("Result of an operator's tool", "inference.operator_tools.tools.MAX_RESULT", "bytes"),
    (
        "Time of an operator's tool (`timeout` in tools.yaml)",
        "inference.operator_tools.tools.SECONDS",
        "seconds",
    ),
    ("Operator's functions in threads of a worker", "inference.operator_tools.tools.THREADS", ""),
    ("Provider's answer with an image", "inference.image_generation.provider.LARGEST", "bytes"),
    ("Deliveries of webhooks at once in a worker", "inference.webhooks.delivery.CONCURRENCY", ""),
    ("Time in which a webhook must answer", "inference.webhooks.delivery.SECONDS", "seconds"),
    ("Time for which a webhook's event is retried", "inference.webhooks.delivery.RETRIED", "seconds"),
    ("Levels of a search filter", "inference.retrieval.filters.MAX_DEPTH", ""),
    ("Comparisons of a search filter", "inference.retrieval.filters.MAX_COMPARISONS", ""),
    ("Values of one comparison", "inference.retrieval.filters.MAX_VALUES", ""),
    ("Tokens of a file (OpenAI: the same)", "inference.parsing.parser.MAX_TOKENS", ""),
    ("Text of a file", "inference.parsing.formats.text.MAX_TEXT", "characters"),
    ("Office file when unpacked", "inference.parsing.formats.office.MAX_UNPACKED", "bytes"),
    ("XML document of an office file", "inference.parsing.formats.office.MAX_XML", "bytes"),
    ("Memory of the parser for one file", "inference.parsing.sandbox.MEMORY_BYTES", "bytes"),
    ("Memory of the parser for all files", "ASTROLABE_PARSER_MEMORY", "bytes"),
    ("CPU time of the parser for one file", "inference.parsing.sandbox.CPU_SECONDS", "seconds"),
)
"""What holds for more than one operation: its name, the setting or constant, and the unit."""

BOUNDS = {"maxItems": "items", "maxLength": "characters", "maxProperties": "members", "maximum": "objects"}
DEPTH = 2
"""Levels of fields that the table shows."""

OURS = frozenset(
    {
        ("content", "maxItems"),
        ("additional_messages", "maxItems"),
        ("attachments", "maxItems"),
        ("tools", "maxItems"),
        ("tool_outputs", "maxItems"),
        ("output", "maxLength"),
        ("tool_call_id", "maxLength"),
        ("call_id", "maxLength"),
        ("additional_instructions", "maxLength"),
        ("part_ids", "maxItems"),
        ("part_ids", "maxLength"),
        ("query", "maxItems"),
        ("query", "maxLength"),
        ("model", "maxLength"),
        ("prompt", "maxLength"),
        ("input", "maxLength"),
    }
)
"""Fields whose bound is Astrolabe's own; the others that the spec lacks are enforced by OpenAI's service."""

TEXTS = frozenset({("input", "maxLength")})
"""Those of OURS that OpenAI has for responses."""

SIZES = ((1024**3, "GB"), (1024**2, "MB"), (1024, "kB"), (1, "bytes"))

Bound = tuple[str, str, int]


def server_table() -> str:
    """Return the table of the limits that hold for many operations."""
    rows = (f"| {name} | {shown(source, unit)} | `{source}` |" for name, source, unit in SERVER)
    return "\n".join(("| what | limit | setting or constant |", "|---|---|---|", *rows)) + "\n"


def shown(source: str, unit: str) -> str:
    """Return the value of a setting's default or of a constant with its unit."""
    names = {variable: name for name, variable, _ in Settings.variables()}
    if source in names:
        value = Settings.model_fields[names[source]].default
    else:
        module, _, name = source.rpartition(".")
        value = getattr(import_module(module), name)
    if unit != "bytes":
        return f"{value:,.0f} {unit}".rstrip()
    size, name = next((size, name) for size, name in SIZES if value >= size)
    return f"{value / size:,.0f} {name}"


def operations_table() -> str:
    """Return the table of the newest edition's served operations and the bounds of their fields."""
    edition = load(shipped()[-1], None)
    raw = files("spec").joinpath("editions", f"{edition.name}.yaml").read_bytes()
    upstream = normalize(parse(raw, edition.name), edition.name)
    served = [one for one in edition.operations if one.name in registered_handlers()]
    served.sort(key=lambda one: (one.path, one.method))
    # The `?beta=true` form of an operation has the row of the plain one.
    rows = dict.fromkeys(row(one, edition.document, upstream) for one in served)
    return "\n".join(("| operation | limits of its fields |", "|---|---|", *rows)) + "\n"


def row(operation: Operation, document: Any, upstream: Any) -> str:
    """Return an operation's row."""
    path, method = operation.path, operation.method.lower()
    found = dict.fromkeys(bounds(document["paths"][path][method], document))
    known = set(bounds(upstream["paths"].get(path, {}).get(method, {}), upstream))
    ours = OURS - TEXTS if path.startswith("/responses") else OURS
    fields = ", ".join(
        f"`{name}` {number:,} {BOUNDS[keyword]}{origin(name, keyword, number, known, ours)}"
        for name, keyword, number in found
    )
    return f"| {operation.method.upper()} {path} | {fields or 'none'} |"


def origin(path: str, keyword: str, number: int, known: set[Bound], ours: frozenset[tuple[str, str]]) -> str:
    """Return the mark of a bound that OpenAI's spec does not state."""
    if (path, keyword, number) in known:
        return ""
    last = path.rpartition(".")[2].removesuffix("[]")
    return " (ours)" if (last, keyword) in ours else " (service)"


def bounds(item: Any, document: Any) -> Iterator[Bound]:
    """Yield the bounds of an operation's parameters and of its body's fields."""
    for parameter in item.get("parameters", []):
        yield from within(parameter["schema"], parameter["name"], 0, document)
    for body in item.get("requestBody", {}).get("content", {}).values():
        yield from within(body.get("schema", {}), "", 0, document)


def within(schema: Any, path: str, depth: int, document: Any) -> Iterator[Bound]:
    """Yield the bounds of a schema and of what it holds."""
    if not isinstance(schema, dict) or depth > DEPTH:
        return
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        yield from within(document["components"]["schemas"][name], path, depth, document)
        return
    for keyword in BOUNDS:
        counts = keyword != "maximum" or path in {"limit", "max_num_results"}
        if counts and keyword in schema:
            yield path, keyword, int(schema[keyword])
    for branches in (schema.get(each, []) for each in ("anyOf", "oneOf", "allOf")):
        for branch in branches:
            yield from within(branch, path, depth, document)
    for name, value in schema.get("properties", {}).items():
        yield from within(value, f"{path}.{name}" if path else name, depth + 1, document)
    if "items" in schema:
        yield from within(schema["items"], f"{path}[]", depth, document)


def written(page: str) -> str:
    """Return the page with its tables as they are now."""
    for name, table in (("server", server_table()), ("operations", operations_table())):
        begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"
        head, _, rest = page.partition(begin)
        page = f"{head}{begin}{table}{end}{rest.partition(end)[2]}"
    return page


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text()))
