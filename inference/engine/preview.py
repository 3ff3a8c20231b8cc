"""What a run would send to its model, without starting it."""

from inference.engine.attempt import RunAttempt
from inference.engine.recorder import Recorder
from inference.engine.renderer import Api
from inference.engine.starts import RunStart
from inference.engine.tools import ToolTypes
from inference.engine.unstored import UnstoredWork
from inference.gateway import Gateway
from persistence.store import Document
from persistence.types import JSON


async def first_request(gateway: Gateway, tools: ToolTypes, api: Api, start: RunStart) -> JSON:
    """Return the first request of a run; nothing is sent and nothing is written."""
    recorder = Recorder(start.state, api.renderer(start.key.project, start.run, start.state))
    run = Document(start.key, start.run, start.state.to_json(), parent=start.parent)
    work = UnstoredWork(run, recorder)
    return await RunAttempt(
        gateway, tools, api, work, lambda: start.caller, history=start.history
    ).first_request()
