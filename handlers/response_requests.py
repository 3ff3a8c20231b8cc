"""Requests for responses: what cannot be served is refused by its name."""

from itertools import count

from handlers.compactions import compaction_rule
from handlers.context import Context
from handlers.credentials import caller_settings, require_store
from handlers.errors import BadRequest
from handlers.item_contents import check_files_and_images
from handlers.mcp_tools import with_servers, without_secrets
from handlers.ownership import check_model_owner
from handlers.prompts import with_prompt
from handlers.resources import check_model
from inference.engine.tools import check_tools
from inference.gateway.requests import REASONING
from inference.identifiers import new_id
from inference.responses.items import owned_id, stored_items_in_slices
from inference.responses.responses import ResponseRequest
from inference.responses.tools import RequestTools
from persistence import large_json
from persistence.types import JSON

UNSUPPORTED = ("multi_agent", "personality")
"""Fields that this server does not serve; they are refused, not dropped."""

AS_IN_CHAT = (
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "temperature",
    "top_p",
    "user",
)
"""Fields that chat completions have under the same name."""

MAX_TOOLS = 1000
"""Tools of a request, those in namespaces included."""

MAX_REPEATED = 2 * 1024 * 1024
"""Bytes, as JSON, of the fields other than `input`: instructions, tools and schemas are in several events."""

FIRST_INPUT = 0x8000
"""The number in the id of a response's first input item; those of its output begin with 0."""


async def checked_request(context: Context, body: JSON, *, needs_model: bool = True) -> ResponseRequest:
    """Return the request that a body asks for; what cannot be served is refused by its name."""
    if body.get("store") is not False:
        require_store(context, "'store'")
        body = {**body, "store": True}
    _check_fields(body)
    await _check_sizes(body)
    body = await with_prompt(context, body)
    body, sent = _without_secrets(context, body)
    _check_values(body)
    if needs_model:
        if body.get("model") is None:
            message = "Missing required parameter: 'model'."
            raise BadRequest(message, param="model", code="missing_required_parameter")
        check_model(context, body["model"])
    await _check_tools(context, body)
    if body.get("moderation") is not None:
        check_model(context, body["moderation"]["model"], "moderation.model")
        await check_model_owner(context, body["moderation"]["model"])
    conversation = body.get("conversation")
    if isinstance(conversation, dict):
        body = {**body, "conversation": conversation["id"]}
    id = new_id("resp_")
    numbers = count(FIRST_INPUT)
    items = await stored_items_in_slices(
        body.get("input") or [], lambda prefix: owned_id(prefix, id, next(numbers))
    )
    await check_files_and_images(context, items, "input")
    compaction, items = compaction_rule(context, body, items)
    return ResponseRequest(
        context.project,
        id,
        body,
        items,
        _chat_options(body),
        caller=with_servers(await caller_settings(context), sent),
        memory=context.connection,
        compaction=compaction,
    )


def _without_secrets(context: Context, body: JSON) -> tuple[JSON, dict[str, JSON]]:
    """Return a body whose tools may be stored, with their defaults, and what they send to MCP servers."""
    if not body.get("tools"):
        return body, {}
    tools, sent = without_secrets(body["tools"])
    mcp = context.services.mcp
    shown = [mcp.with_defaults(tool) if tool["type"] == "mcp" else tool for tool in tools]
    return {**body, "tools": shown}, sent


async def _check_tools(context: Context, body: JSON) -> None:
    """Refuse tools that this server does not run, or not as the request has them."""
    given = body.get("tools") or []
    tools = RequestTools.of(given, body.get("tool_choice"), [])
    if tools.unserved:
        names = ", ".join(sorted({f"'{tool['type']}'" for tool in tools.unserved}))
        message = f"This server does not run the tool {names}."
        param = f"tools[{given.index(tools.unserved[0])}]"
        raise BadRequest(message, param=param, code="unsupported_parameter")

    def is_run_here(tool: JSON) -> bool:
        return tool in tools.server and not tools.is_optional(tool)

    await check_tools(context.services.responses.tools, context.project, given, is_run_here)


async def _check_sizes(body: JSON) -> None:
    """Refuse more tools, or more of what each event of a response repeats, than can be worked on at once."""
    tools = body.get("tools") or ()
    if sum(1 + len(tool.get("tools") or ()) for tool in tools) > MAX_TOOLS:
        message = f"Invalid 'tools': more than {MAX_TOOLS:,} tools, those in namespaces included."
        raise BadRequest(message, param="tools", code="array_above_max_length")
    repeated = {name: value for name, value in body.items() if name != "input"}
    if large_json.is_large(repeated) and (size := len(await large_json.dumps(repeated))) > MAX_REPEATED:
        message = (
            f"Invalid body: its fields other than 'input' have {size} bytes as JSON, and {MAX_REPEATED} "
            "are allowed."
        )
        raise BadRequest(message, code="object_too_large")


def _check_fields(body: JSON) -> None:
    if body.get("previous_response_id") is not None and body.get("conversation") is not None:
        raise BadRequest(
            "Mutually exclusive parameters: 'previous_response_id' and 'conversation'. Ensure you are only "
            "providing one of: 'previous_response_id' or 'conversation'.",
            code="mutually_exclusive_parameters",
        )
    if body.get("store") is False:
        for name in ("background", "conversation"):
            if body.get(name):
                raise BadRequest(f"'{name}' needs a response that is stored.", param=name)
    for name in UNSUPPORTED:
        if body.get(name) is not None:
            raise BadRequest(
                f"This server does not support '{name}'.", param=name, code="unsupported_parameter"
            )


def _check_values(body: JSON) -> None:
    """Refuse values of fields that no model here is asked for."""
    if (body.get("reasoning") or {}).get("mode") not in (None, "standard"):
        message = f"This server does not support '{body['reasoning']['mode']}' as 'reasoning.mode'."
        raise BadRequest(message, param="reasoning.mode", code="unsupported_value")
    for name, config in ((body.get("moderation") or {}).get("policy") or {}).items():
        if config is not None and config["mode"] != "score":
            param = f"moderation.policy.{name}.mode"
            message = f"This server does not support '{config['mode']}' as '{param}', only 'score'."
            raise BadRequest(message, param=param, code="unsupported_value")
    for index, tool in enumerate(body.get("tools") or ()):
        callers = tool.get("allowed_callers")
        if callers and "direct" not in callers:
            param = f"tools[{index}].allowed_callers"
            message = f"This server does not support '{param}' without 'direct'."
            raise BadRequest(message, param=param, code="unsupported_value")


def _chat_options(body: JSON) -> JSON:
    """Return the fields of a request as chat completions name them."""
    options = {name: body[name] for name in AS_IN_CHAT if body.get(name) is not None}
    verbosity = (body.get("text") or {}).get("verbosity")
    if verbosity is not None:
        options["verbosity"] = verbosity
    top = body.get("top_logprobs")
    if top or "message.output_text.logprobs" in (body.get("include") or ()):
        options |= {"logprobs": True, "top_logprobs": top or 0}
    reasoning = {name: value for name, value in (body.get("reasoning") or {}).items() if value is not None}
    return {**options, REASONING: reasoning} if reasoning else options
