"""A transport that sends the head of a response with its body."""

from asyncio import AbstractEventLoop, Transport

JOINED = 64 * 1024
"""Bytes of a body that are copied behind its head; a larger one takes system calls of its own anyway."""


class Cork:
    """A transport for one answer: its head waits for its body, so that both leave in one system call."""

    __slots__ = ("_head", "_is_open", "_loop", "_transport")

    def __init__(self, transport: Transport, loop: AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._head = b""
        self._is_open = False

    def write(self, data: bytes) -> None:
        """Hold the first bytes back until the next, or until the loop's next turn if none come."""
        if self._is_open:
            self._transport.write(data)
        elif self._head and len(data) > JOINED:
            self._release()
            self._transport.write(data)
        elif self._head:
            self._is_open = True
            self._transport.write(self._head + data)
        else:
            self._head = data
            self._loop.call_soon(self._release)

    def _release(self) -> None:
        if not self._is_open:
            self._is_open = True
            self._transport.write(self._head)

    def is_closing(self) -> bool:
        """Whether the connection is closing."""
        return self._transport.is_closing()

    def close(self) -> None:
        """Close the connection once everything is written."""
        if self._head:
            self._release()
        self._transport.close()
