"""Errors of responses and conversations.

ResponsesError
├── ContextTooLong         the context cannot fit into the model's
├── ConversationLocked     a response runs on the conversation
├── ConversationNotFound   the conversation does not exist, or was deleted meanwhile
├── ItemNotFound           a referenced item does not exist
├── PromptNotFound         the prompt does not exist
├── ResponseNotFound       the response does not exist
└── ResponseUnfinished     the response cannot be continued yet
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


class ContextTooLong(ResponsesError):
    """The context cannot fit into the model's."""

    def __init__(self) -> None:
        super().__init__(
            "Your input exceeds the context window of this model. Please adjust your input and try again."
        )


class ItemNotFound(ResponsesError):
    """A referenced item does not exist."""

    def __init__(self, id: str) -> None:
        super().__init__(f"Item with id '{id}' not found.")


class PromptNotFound(ResponsesError):
    """The prompt does not exist, or not in this version."""

    def __init__(self, id: str, version: str | None = None) -> None:
        named = "" if version is None else f" and version '{version}'"
        super().__init__(f"Prompt with id '{id}'{named} not found.")


class ResponseNotFound(ResponsesError):
    """The response does not exist."""

    def __init__(self, id: str, *, previous: bool = False) -> None:
        noun = "Previous response" if previous else "Response"
        super().__init__(f"{noun} with id '{id}' not found.")
        self.previous = previous


class ResponseUnfinished(ResponsesError):
    """The response cannot be continued yet."""

    def __init__(self, id: str) -> None:
        super().__init__(f"Response with id '{id}' has not ended; it cannot be continued yet.")
