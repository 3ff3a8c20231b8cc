"""Errors of batches."""

from inference.errors import InferenceError


class BatchNotFound(InferenceError):
    """No such batch in the project."""

    def __init__(self, id: str) -> None:
        super().__init__(f"No batch found with id '{id}'.")


class BatchNotCancellable(InferenceError):
    """The batch has ended, or its files are being written."""

    def __init__(self, status: str) -> None:
        super().__init__(f"Cannot cancel a batch with status '{status}'.")
