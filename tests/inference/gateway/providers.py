"""Gateways to the provider over the wires of five providers, through litellm."""

import json
from pathlib import Path

from inference.gateway import ChunkAccumulator, Gateway, Routes
from persistence.types import JSON

PROVIDERS = ("anthropic", "gemini", "bedrock", "cohere", "mistral")

TOOL = {
    "type": "function",
    "function": {
        "name": "f",
        "description": "Look something up.",
        "parameters": {"type": "object", "properties": {"x": {"type": "integer"}}},
    },
}


def models_yaml(root: str) -> str:
    """Return a models.yaml whose models are named after their providers."""
    return f"""
providers:
  any: {{wire: litellm, base_url: "{root}", api_key: "${{KEY}}", retries: 0}}
  aws: {{wire: litellm, base_url: "{root}", api_key: "${{KEY}}", retries: 0,
        parameters: {{aws_region_name: us-east-1}}}}
  cohere: {{wire: litellm, base_url: "{root}/v2/chat", api_key: "${{KEY}}", retries: 0}}
  mistral: {{wire: litellm, base_url: "{root}/mistral/v1", api_key: "${{KEY}}", retries: 0}}
models:
  anthropic: {{provider: any, model: anthropic/claude-sonnet-4-5}}
  gemini: {{provider: any, model: gemini/gemini-2.5-flash}}
  bedrock: {{provider: aws, model: "bedrock/anthropic.claude-sonnet-4-5-20250929-v1:0"}}
  cohere: {{provider: cohere, model: cohere_chat/command-a-03-2025}}
  mistral: {{provider: mistral, model: mistral/magistral-medium-latest}}
"""


async def gateway_to(root: str, folder: Path) -> Gateway:
    """Return an open gateway to the provider at `root`."""
    path = folder / "models.yaml"
    path.write_text(models_yaml(root))
    gateway = Gateway(Routes.from_file(path, {"KEY": "sk-the-operators-own"}))
    await gateway.open()
    return gateway


def scripted(model: str, tag: str, *turns: JSON, **fields: object) -> JSON:
    """Return a chat request that makes the provider do these turns."""
    script = json.dumps({"tag": tag, "turns": turns})
    return {"model": model, "messages": [{"role": "user", "content": f"script: {script}"}], **fields}


async def answered(gateway: Gateway, request: JSON, *, streamed: bool) -> JSON:
    """Return the completion, of a stream if `streamed`."""
    if not streamed:
        return await gateway.complete(request)
    accumulator = ChunkAccumulator()
    async for chunk in gateway.chunks({**request, "stream_options": {"include_usage": True}}):
        accumulator.add(chunk)
    return accumulator.completion()
