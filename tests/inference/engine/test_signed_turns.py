"""A run sends a provider what it signed, its thinking and its calls, in the next turn."""

from pathlib import Path

import pytest

from inference.gateway import Gateway, Routes
from persistence.store import Store
from tests.inference.engine.process import process, script
from tests.inference.gateway.test_second_turn import SENT_BACK, STEPS, TOOL
from tests.provider import ProviderProcess

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.mark.parametrize("model", SENT_BACK)
async def test_a_run_sends_back_what_its_provider_signed(
    store: Store, provider: ProviderProcess, tmp_path: Path, tag: str, model: str
) -> None:
    path = tmp_path / "models.yaml"
    path.write_text(f"""
providers:
  any: {{wire: litellm, base_url: "{provider.root}", api_key: any, retries: 0}}
  aws: {{wire: litellm, base_url: "{provider.root}", api_key: any, retries: 0,
        parameters: {{aws_region_name: us-east-1}}}}
models:
  anthropic: {{provider: any, model: anthropic/claude-sonnet-4-5}}
  gemini: {{provider: any, model: gemini/gemini-2.5-flash}}
  bedrock: {{provider: aws, model: "bedrock/anthropic.claude-sonnet-4-5-20250929-v1:0"}}
""")
    gateway = Gateway(Routes.from_file(path, {}))
    await gateway.open()
    async with process(store, gateway) as worker:
        thread = await worker.thread(script(*STEPS, tag=tag))
        assistant = await worker.assistant(model=model, tools=[TOOL], reasoning_effort="low")
        run = await worker.run(thread["id"], assistant["id"], max_completion_tokens=3000)
        run = await worker.settled(run)
        (call,) = run["required_action"]["submit_tool_outputs"]["tool_calls"]
        await worker.submit(run, **{call["id"]: "sunny"})
        assert (await worker.settled_from(run, "requires_action"))["status"] == "completed"
    await gateway.close()
    body = provider.received(tag)[-1]["body"]
    contents = body.get("contents") or body["messages"]
    sent = contents[1].get("parts") or contents[1]["content"]
    assert _signed(sent) == _signed(SENT_BACK[model])


def _signed(parts: list) -> list:
    """The parts that a signature is in."""
    return [part for part in parts if "signature" in str(part).lower()]
