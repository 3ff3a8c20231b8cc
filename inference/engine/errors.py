"""Errors of runs.

RunError
├── ConversationBusy     another run of the conversation is active
├── IllegalTransition    the run's status does not allow that
├── OutputsRefused       tool outputs that are not exactly those the run waits for
├── OutputsNotAwaited    the run waits for no tool outputs
├── ApprovalUnreadable   an answer to a request for approval that is neither yes nor no
├── ToolUnavailable      a tool that this server does not run
├── ToolRefused          a tool that cannot be used as the request has it
├── EventsGone           the run's event log is no longer kept
└── RunGone              the run, or its conversation, was deleted
"""

from collections.abc import Sequence
from typing import Self

from inference.errors import InferenceError


class RunError(InferenceError):
    """Base class."""


class ConversationBusy(RunError):
    """Another run of the conversation is active."""

    def __init__(self, conversation: str, run: str) -> None:
        super().__init__(f"Thread {conversation} already has an active run {run}.")
        self.conversation = conversation
        self.run = run


class IllegalTransition(RunError):
    """The run's status does not allow that."""

    def __init__(self, status: str, target: str) -> None:
        super().__init__(f"A run with status '{status}' cannot become '{target}'.")
        self.status = status
        self.target = target


class OutputsRefused(RunError):
    """Tool outputs that are not exactly those the run waits for."""

    def __init__(self, expected: Sequence[str], given: Sequence[str]) -> None:
        super().__init__(f"Expected tool outputs for call_ids {list(expected)}, got {list(given)}")


class OutputsNotAwaited(RunError):
    """The run waits for no tool outputs."""

    def __init__(self, status: str) -> None:
        super().__init__(f'Runs in status "{status}" do not accept tool outputs.')
        self.status = status


class ApprovalUnreadable(RunError):
    """An answer to a request for approval that is neither yes nor no."""

    def __init__(self, call_id: str) -> None:
        message = f"The output of '{call_id}' answers a request for approval: send 'approve' or 'deny'."
        super().__init__(message)


class ToolUnavailable(RunError):
    """A tool that this server does not run."""

    def __init__(self, tool: str, reason: str = "") -> None:
        super().__init__(f"The tool '{tool}' is not available on this server{reason and ': '}{reason}.")
        self.tool = tool


class ToolRefused(RunError):
    """A request's tool cannot be used; `param` is the member of it, or its path: `tools[0].server_url`."""

    def __init__(self, message: str, param: str = "", code: str | None = "invalid_value") -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code

    def at(self, place: str) -> Self:
        """Return the error of a tool at that place in its request."""
        return type(self)(self.message, f"{place}.{self.param}" if self.param else place, self.code)


class EventsGone(RunError):
    """The run's event log is no longer kept, or another version wrote it."""

    def __init__(self, run: str) -> None:
        super().__init__(f"The events of run {run} are no longer kept.")


class RunGone(RunError):
    """The run, or its conversation, was deleted."""
