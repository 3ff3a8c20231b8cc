"""What containers refuse.

RetrievalError
├── ObjectNotFound
│   └── ContainerNotFound    no such container in the caller's project
└── RequestRefused
    ├── ContainerExpired     the container was not used for too long: its files are deleted
    └── ContainerFileRefused a file's path, or the number or size of a container's files
"""

from inference.retrieval.errors import ObjectNotFound, RequestRefused


class ContainerNotFound(ObjectNotFound):
    """No such container in the caller's project."""

    def __init__(self, container: str, param: str = "container_id") -> None:
        super().__init__(f"Container with id '{container}' not found.", param=param)


class ContainerExpired(RequestRefused):
    """The container was not used for too long: its files are deleted, and nothing runs in it any more."""

    def __init__(self, param: str | None = None) -> None:
        super().__init__("Container is expired.", param=param)


class ContainerFileRefused(RequestRefused):
    """A file does not fit into a container: its path, its size, or the number of files."""

    def __init__(self, message: str, param: str = "file") -> None:
        super().__init__(message, param=param, code="invalid_value")
