"""What a run that waits for its caller keeps of that caller's settings, sealed in its state.

The caller's outputs come in a request that has no place for what MCP servers are sent.
"""

from dataclasses import replace

from inference.engine.state import RunState
from inference.gateway import CallerSettings
from inference.sealing import Sealer
from persistence.types import JSON

KEPT = "kept"
"""The member of a run's extra state; it is there only while the run waits."""


def kept_settings(sealer: Sealer, project: str, caller: CallerSettings | None) -> JSON:
    """Return the extra state of a run that begins to wait; nothing without a secret to seal with."""
    if caller is None or not caller.servers or not sealer.can_seal:
        return {}
    return {KEPT: sealer.seal(project, CallerSettings(servers=caller.servers))}


def with_kept_settings(
    sealer: Sealer, project: str, state: RunState, caller: CallerSettings | None
) -> CallerSettings | None:
    """Return the settings of a caller who submits outputs with those that the run kept."""
    kept = sealer.open(project, state.extra.pop(KEPT, {}))
    return caller if kept is None else replace(caller or CallerSettings(), servers=kept.servers)
