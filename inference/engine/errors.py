"""Errors of runs.

RunError
├── ConversationBusy     another run of the conversation is active
├── IllegalTransition    the run's status does not allow that
├── OutputsRefused       tool outputs that are not exactly those the run waits for
├── OutputsNotAwaited    the run waits for no tool outputs
├── ApprovalUnreadable   an answer to a request for approval that is neither yes nor no
├── ToolUnavailable      a tool that this server does not run; a FieldError too
├── ToolRefused          a tool that cannot be used as the request has it; a FieldError too
├── EventsGone           the run's event log is no longer kept
└── RunGone              the run, or its conversation, was deleted
"""

from collections.abc import Sequence

from inference.errors import FieldError, InferenceError


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


class ToolUnavailable(RunError, FieldError):
    """A tool that this server does not run."""

    def __init__(self, tool: str, reason: str = "") -> None:
        message = f"The tool '{tool}' is not available on this server{reason and ': '}{reason}."
        super().__init__(message, code="unsupported_parameter")
        self.tool = tool


class ToolRefused(RunError, FieldError):
    """A request's tool cannot be used."""

    def __init__(self, message: str, param: str | None = None, code: str | None = "invalid_value") -> None:
        super().__init__(message, param=param, code=code)


class EventsGone(RunError):
    """The run's event log is no longer kept, or another version wrote it."""

    def __init__(self, run: str) -> None:
        super().__init__(f"The events of run {run} are no longer kept.")


class RunGone(RunError):
    """The run, or its conversation, was deleted."""
