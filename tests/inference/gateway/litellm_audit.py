"""Ask each provider through litellm, and print every host that this process resolved or connected to."""

import asyncio
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

hosts: set[str] = set()


def note(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.getaddrinfo":
        hosts.add(str(arguments[0]))
    elif event in ("socket.connect", "socket.sendto") and isinstance(arguments[1], tuple):
        hosts.add(str(arguments[1][0]))


async def main() -> None:
    from tests.inference.gateway.providers import PROVIDERS, answered, gateway_to, scripted
    from tests.provider import Provider

    async with Provider() as provider:
        with tempfile.TemporaryDirectory() as folder:
            gateway = await gateway_to(provider.root, Path(folder))
        for model in PROVIDERS:
            for streamed in (False, True):
                await answered(gateway, scripted(model, "t", {"text": "x"}), streamed=streamed)
        await asyncio.sleep(1)  # for what litellm does behind an answer
        await gateway.close()
    print(json.dumps(sorted(hosts)))


if __name__ == "__main__":
    sys.addaudithook(note)
    asyncio.run(main())
