"""`prompt` of a response: the fields that a template of the operator, or an assistant, brings."""

from handlers.assistants import OPTIONS
from handlers.context import Context
from inference.responses.errors import PromptNotFound
from inference.responses.items import ItemRefused
from inference.responses.prompts import ASSISTANT, instructions_with
from persistence.collections import ASSISTANTS
from persistence.store import Document, Key
from persistence.types import JSON

RANKERS = ("auto", "default-2024-11-15")
"""Rankers that a response's file_search can name."""


async def with_prompt(context: Context, body: JSON) -> JSON:
    """Return the body with the fields of its prompt where it has none itself; PromptNotFound, ItemRefused."""
    prompt = body.get("prompt")
    if prompt is None:
        return body
    id, version, variables = prompt["id"], prompt.get("version"), prompt.get("variables") or {}
    if id.startswith(ASSISTANT):
        fields = await _of_assistant(context, id, version, variables)
    else:
        template = context.services.responses.prompts.find(id, version)
        version, fields = str(template.version), template.filled(variables)
    own = {name: value for name, value in body.items() if value is not None}
    messages = fields.pop("messages", [])
    merged = {**fields, **own}
    return {
        **merged,
        "instructions": instructions_with(merged.get("instructions"), messages),
        "prompt": {"id": id, "variables": variables, "version": version},
    }


async def _of_assistant(context: Context, id: str, version: str | None, variables: JSON) -> JSON:
    document = await context.services.store.get(Key(context.project, ASSISTANTS, id))
    if document is None or version is not None:
        raise PromptNotFound(id, version)
    for name in variables:
        param = f"prompt.variables.{name}"
        message = f"Unknown parameter: '{param}'. An assistant has no variables."
        raise ItemRefused(message, param, "unknown_parameter")
    return assistant_fields(document)


def assistant_fields(document: Document) -> JSON:
    """Return the fields of a response that an assistant brings; it has no more than were set."""
    assistant = document.value
    fields: JSON = {"model": assistant["model"], **document.state[OPTIONS]}
    if assistant.get("instructions"):
        fields["instructions"] = assistant["instructions"]
    if assistant.get("reasoning_effort"):
        fields["reasoning"] = {"effort": assistant["reasoning_effort"]}
    tools = [_tool(tool, assistant["tool_resources"]) for tool in assistant["tools"]]
    if tools:
        fields["tools"] = tools
    format = assistant.get("response_format")
    if isinstance(format, dict):
        fields["text"] = {"format": _format(format)}
    return fields


def _tool(tool: JSON, resources: JSON) -> JSON:
    """Return an assistant's tool as a response has it, with what it may use."""
    match tool["type"]:
        case "function":
            function = tool["function"]
            return {
                "type": "function",
                "name": function["name"],
                "description": function.get("description"),
                "parameters": function.get("parameters") or {"type": "object", "properties": {}},
                "strict": bool(function.get("strict")),
            }
        case "file_search":
            stores = (resources.get("file_search") or {}).get("vector_store_ids") or []
            options = {
                name: each for name, each in (tool.get("file_search") or {}).items() if each is not None
            }
            ranking = options.get("ranking_options")
            if ranking:
                ranker = ranking.get("ranker")
                options["ranking_options"] = {**ranking, "ranker": ranker if ranker in RANKERS else "auto"}
            return {"type": "file_search", "vector_store_ids": stores, **options}
        case "code_interpreter":
            files = (resources.get("code_interpreter") or {}).get("file_ids") or []
            return {"type": "code_interpreter", "container": {"type": "auto", "file_ids": files}}
        case _:
            return tool


def _format(format: JSON) -> JSON:
    """Return a response format as the format of a response's text."""
    if format["type"] == "json_schema":
        return {"type": "json_schema", **format["json_schema"]}
    return format
