"""Reads large bodies of many connections a little at a time, so that other requests are read in between."""

from asyncio import AbstractEventLoop, Transport
from collections import deque

from uvicorn.protocols.http.flow_control import FlowControl

READS = 4
"""Paused connections that are read again in each turn of the event loop; each then gives up to 128 kB."""


class ReadTurns:
    """The connections of a worker that wait for their turn to be read again, first come, first served."""

    def __init__(self, loop: AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: deque[PacedFlow] = deque()

    def add(self, flow: "PacedFlow") -> None:
        """Resume a connection in one of the next turns of the event loop."""
        if not self._waiting:
            self._loop.call_soon(self._resume_some)
        self._waiting.append(flow)

    def _resume_some(self) -> None:
        for _ in range(min(READS, len(self._waiting))):
            self._waiting.popleft().resume_now()
        if self._waiting:
            self._loop.call_soon(self._resume_some)


class PacedFlow(FlowControl):
    """The flow control of a connection that is resumed when its turn comes.

    By itself the event loop reads up to 2 MB of each connection in one turn.
    """

    def __init__(self, transport: Transport, turns: ReadTurns) -> None:
        super().__init__(transport)
        self._turns = turns
        self._is_waiting = False

    def resume_reading(self) -> None:
        """Read again when this connection's turn comes."""
        if self.read_paused and not self._is_waiting:
            self._is_waiting = True
            self._turns.add(self)

    def resume_now(self) -> None:
        """Read again, unless the connection is closed."""
        self._is_waiting = False
        if not self._transport.is_closing():
            super().resume_reading()
