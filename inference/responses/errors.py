"""Errors of responses and conversations.

ResponsesError
├── ConversationLocked     a response runs on the conversation
└── ConversationNotFound   the conversation does not exist, or was deleted meanwhile
"""

from inference.errors import InferenceError


class ResponsesError(InferenceError):
    """Base class of the errors of responses and conversations."""


class ConversationLocked(ResponsesError):
    """A response runs on the conversation."""

    def __init__(self) -> None:
        super().__init__(
            "Another process is currently operating on this conversation. Please retry in a few seconds."
        )


class ConversationNotFound(ResponsesError):
    """The conversation does not exist, or was deleted meanwhile."""

    def __init__(self, id: str) -> None:
        super().__init__(f"Conversation with id '{id}' not found.")
