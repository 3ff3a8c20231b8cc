"""Connections whose bodies are large are read in turns."""

import asyncio
import socket
from contextlib import ExitStack

from serving.read_turns import READS, PacedFlow, ReadTurns

CONNECTIONS = 3 * READS


def test_each_turn_of_the_loop_reads_a_few_connections_in_their_order() -> None:
    async def paused_after_each_turn() -> list[list[bool]]:
        loop = asyncio.get_running_loop()
        turns, flows, seen = ReadTurns(loop), list[PacedFlow](), list[list[bool]]()
        transports = []
        with ExitStack() as stack:
            for _ in range(CONNECTIONS):
                ours, theirs = socket.socketpair()
                stack.enter_context(theirs)
                transport, _ = await loop.connect_accepted_socket(asyncio.Protocol, ours)
                stack.callback(transport.abort)
                transports.append(transport)
                flows.append(PacedFlow(transport, turns))
            for flow in flows:
                flow.pause_reading()
                flow.resume_reading()
                flow.resume_reading()  # has its turn once
            transports[0].close()  # a client has disconnected meanwhile
            for _ in range(CONNECTIONS // READS):
                await asyncio.sleep(0)
                seen.append([flow.read_paused for flow in flows[1:]])
        return seen

    seen = asyncio.run(paused_after_each_turn())
    assert [paused.count(False) for paused in seen] == [READS - 1, 2 * READS - 1, 3 * READS - 1]
    assert all(paused == sorted(paused) for paused in seen)
