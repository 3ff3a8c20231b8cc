"""Ask each provider through litellm, and print how many sockets were open before, meanwhile and after."""

import asyncio
import json
import tempfile
from pathlib import Path

from tests.inference.gateway.providers import PROVIDERS, answered, gateway_to, scripted
from tests.provider import ProviderProcess


def sockets() -> int:
    """Return how many sockets this process has open."""
    links = [path.readlink() for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    return sum(str(link).startswith("socket:") for link in links)


async def counts(root: str, folder: Path, model: str) -> tuple[int, int, int]:
    """Ask plainly, end a stream early, and read a stream to its end, through one gateway."""
    before = sockets()
    gateway = await gateway_to(root, folder)
    request = scripted(model, model, {"text": "One."}, {"text": "Two. " * 2000}, {"text": "Three."})
    await answered(gateway, request, streamed=False)
    stream = gateway.chunks(request)
    await anext(stream)
    meanwhile = sockets()
    await stream.aclose()
    await answered(gateway, request, streamed=True)
    await gateway.close()
    return before, meanwhile, sockets()


def main() -> None:
    with ProviderProcess() as provider, tempfile.TemporaryDirectory() as folder:
        print(
            json.dumps({each: asyncio.run(counts(provider.root, Path(folder), each)) for each in PROVIDERS})
        )


if __name__ == "__main__":
    main()
