"""Corrections of upstream's spec where it contradicts the real service or the SDK's types.

Each erratum says why it exists. It applies to every edition that has the component it changes, and
leaves the others alone; tests compare the result with observed traffic.
"""

from collections.abc import Callable
from dataclasses import dataclass

from spec.bodies import required_bodies
from spec.changes import (
    NULL,
    allows,
    also,
    attachments_name_files,
    echoed_assistant_message,
    empty_lists,
    exact_seeds,
    file_contents,
    function_names,
    list_limits,
    messages_of_any_role,
    metadata_limits,
    no_vector_store,
    optional,
    shows,
    stored_completions,
    streams,
    takes,
    two_vector_stores,
)
from spec.lengths import (
    lengths_of_file_ids,
    lengths_of_inputs,
    lengths_of_model_names,
    lengths_of_searches,
    lengths_of_texts,
    lengths_of_threads,
)
from spec.response_changes import (
    codes_of_failures,
    fields_of_codex,
    free_parameters,
    items_as_sent,
    orders_of_items,
    wrapped_errors,
)
from spec.tool_changes import tools_of_assistants
from spec.types import JSON


@dataclass(frozen=True, slots=True)
class Erratum:
    """One change to a document; `change` alters it in place and says whether it applied."""

    name: str
    reason: str
    change: Callable[[JSON], bool]


def apply_errata(document: JSON) -> JSON:
    """Apply all errata to a normalized document, in place; return it."""
    for erratum in ERRATA:
        erratum.change(document)
    return document


ERRATA: tuple[Erratum, ...] = (
    Erratum(
        "metadata-limits",
        "the limits of metadata stand in the prose of every edition and are enforced by the service",
        metadata_limits,
    ),
    Erratum(
        "list-limits",
        "the bounds of a list's limit stand in the prose and are enforced by the service",
        list_limits,
    ),
    Erratum(
        "pages-of-files",
        "older editions list files without limit, order and after, which the service takes",
        takes(
            "/files",
            limit={"type": "integer", "minimum": 1, "maximum": 10_000, "default": 10_000},
            order={"type": "string", "enum": ["asc", "desc"], "default": "desc"},
            after={"type": "string"},
        ),
    ),
    Erratum(
        "models-for-codex",
        "Codex names its version when it asks for models, and wants to know more about each",
        takes("/models", client_version={"type": "string", "maxLength": 64}),
    ),
    Erratum(
        "function-names",
        "the characters of a function's name stand in the prose and are enforced by the service",
        function_names,
    ),
    Erratum(
        "attachments-name-files",
        "an attachment without a file_id attaches nothing; the service refuses it",
        attachments_name_files,
    ),
    Erratum(
        "lengths-of-threads",
        "the service takes 32 messages with a new thread; one request must not write without bounds",
        lengths_of_threads,
    ),
    Erratum(
        "lengths-of-texts",
        "newer editions lack the bounds of a message's and a run's texts, which the service enforces",
        lengths_of_texts,
    ),
    Erratum(
        "lengths-of-inputs",
        "the service bounds every text that a model gets, the spec bounds some of those of responses",
        lengths_of_inputs,
    ),
    Erratum(
        "lengths-of-file-ids",
        "the default of a message's file_ids is empty, and a message of version 2 can have more than ten",
        lengths_of_file_ids,
    ),
    Erratum(
        "lengths-of-searches",
        "the spec bounds neither the queries of a search nor the parts of an upload",
        lengths_of_searches,
    ),
    Erratum(
        "lengths-of-model-names",
        "the spec bounds no model's name",
        lengths_of_model_names,
    ),
    Erratum(
        "described-vector-stores",
        "a vector store answers its description",
        shows("description", "string", "VectorStoreObject"),
    ),
    Erratum(
        "shown-reasoning-effort",
        "assistants and runs answer their reasoning_effort",
        shows("reasoning_effort", "string", "AssistantObject", "RunObject"),
    ),
    Erratum(
        "stored-completions",
        "a stored completion answers the fields of its request",
        stored_completions,
    ),
    Erratum(
        "shown-tool-resources",
        "a run answers its tool_resources",
        shows("tool_resources", "object", "RunObject"),
    ),
    Erratum(
        "empty-list-ids",
        "a list in which there is nothing answers null for its first and last id",
        empty_lists,
    ),
    Erratum(
        "file-batch-object",
        "file batches answer `vector_store.file_batch`, the spec has `vector_store.files_batch`",
        allows("VectorStoreFileBatchObject", "object", "vector_store.file_batch"),
    ),
    Erratum(
        "credentials-files",
        "Google's credentials are uploaded with the purpose `auth`, as in the Astra Assistants API",
        allows("CreateFileRequest", "purpose", "auth"),
    ),
    Erratum(
        "message-without-status",
        "a message that was retrieved carries no status, incomplete_details, completed_at, incomplete_at",
        optional("MessageObject", "status", "incomplete_details", "completed_at", "incomplete_at"),
    ),
    Erratum(
        "realtime-session-without-secret",
        "the request of a realtime session has a model and no secret, which is answered",
        optional("RealtimeSessionCreateRequest", "client_secret"),
    ),
    Erratum(
        "model-of-a-realtime-session",
        "the request of a realtime session names its model",
        shows("model", "string", "RealtimeSessionCreateRequest"),
    ),
    Erratum(
        "run-without-instructions",
        "a run of an assistant that has no instructions answers null for them",
        also("RunObject", "instructions", NULL),
    ),
    Erratum(
        "step-without-expired-at-and-metadata",
        "run steps carry expires_at, no expired_at and no metadata",
        optional("RunStepObject", "expired_at", "metadata"),
    ),
    Erratum(
        "vector-store-without-name",
        "a vector store that was given no name answers null for it",
        also("VectorStoreObject", "name", NULL),
    ),
    Erratum(
        "embedding-as-base64",
        "with encoding_format base64, which the SDK asks for, an embedding is a string",
        also("Embedding", "embedding", {"type": "string"}),
    ),
    Erratum(
        "file-content-is-binary",
        "the content of a file is answered as bytes, the spec has a string in JSON",
        file_contents,
    ),
    Erratum(
        "exact-seeds",
        "the bounds of a seed are those of 64 bits, which newer editions round",
        exact_seeds,
    ),
    Erratum(
        "streams",
        "completions and runs that are asked for with `stream` are answered as events",
        streams(
            "post",
            "/chat/completions",
            "/completions",
            "/threads/runs",
            "/threads/{thread_id}/runs",
            "/threads/{thread_id}/runs/{run_id}/submit_tool_outputs",
        ),
    ),
    Erratum(
        "followed-responses",
        "a response that is asked for with `stream` is answered as events",
        streams("get", "/responses/{response_id}"),
    ),
    Erratum(
        "codes-of-failed-responses",
        "a failed response has codes on which Codex acts and which the enum lacks",
        codes_of_failures,
    ),
    Erratum(
        "orders-of-items",
        "lists of items begin with the newest, as their prose says; the schemas lack the default",
        orders_of_items,
    ),
    Erratum(
        "wrapped-errors",
        "errors are sent in a member `error`, as the schema ErrorResponse has it; some operations name Error",
        wrapped_errors,
    ),
    Erratum(
        "files-of-any-purpose",
        "a file keeps the purpose that it was uploaded for, of which the spec's files lack some",
        allows("OpenAIFile", "purpose", "auth", "evals", "user_data"),
    ),
    Erratum(
        "two-vector-stores",
        "an assistant or thread that is given a vector store, and another one to be made, has both",
        two_vector_stores,
    ),
    Erratum(
        "file-search-without-stores",
        "SDKs have both lists of vector stores as optional, and the service takes a request without them",
        no_vector_store,
    ),
    Erratum(
        "usage-without-cache-writes",
        "the usage of a response does not always say how many tokens were written to the cache",
        optional("ResponseUsage.input_tokens_details", "cache_write_tokens"),
    ),
    Erratum(
        "echoed-assistant-message",
        "applications append the assistant's message to the next request as it was received",
        echoed_assistant_message,
    ),
    Erratum(
        "required-bodies",
        "a body with a required member is required, and an object; the spec leaves it open for some",
        required_bodies,
    ),
    Erratum(
        "stored-messages-of-any-role",
        "the messages of a stored completion are what was asked, the spec has the assistant's alone",
        messages_of_any_role,
    ),
    Erratum(
        "items-as-sent",
        "clients leave out ids and statuses of items, and send answers back with members of their own",
        items_as_sent,
    ),
    Erratum(
        "free-parameters",
        "a function in a namespace has parameters, the spec has an object without members",
        free_parameters,
    ),
    Erratum(
        "functions-without-strict",
        "clients leave out `strict` and `parameters` of a function",
        optional("FunctionTool", "strict", "parameters"),
    ),
    Erratum(
        "fields-of-codex",
        "Codex sends client_metadata and generate, and what a web search may find",
        fields_of_codex,
    ),
    Erratum(
        "local-shell-output-names-its-call",
        "the output of a local shell requires call_id, and the spec does not describe it",
        shows("call_id", "string", "LocalShellToolCallOutput"),
    ),
    Erratum(
        "tools-of-assistants",
        "this server runs MCP servers, web searches and image generation for assistants too",
        tools_of_assistants,
    ),
)
