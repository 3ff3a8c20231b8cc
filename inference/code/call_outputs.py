"""What the code of one call shows, in its order, emitted while the code runs."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from itertools import groupby

from inference.code.arguments import without_lone_surrogates
from inference.code.outputs import Image, Output, Text
from inference.engine.tools import Emit
from inference.images import SIGNATURE_BYTES, image_type
from persistence.types import JSON

PAUSE = 0.1
"""Seconds between two deltas of logs: code may print far more often."""

MAX_LOGS = 64 * 1024
"""Characters of the logs that a call shows; what follows is left out."""

MAX_IMAGES = 50
"""Images that a call shows: each is stored as a file."""

LEFT_OUT = "\n[The rest of the output is left out.]\n"

IMAGES_LEFT_OUT = f"\n[The images after the first {MAX_IMAGES} are left out.]\n"

KeepImage = Callable[[Image], Awaitable[JSON]]
"""Stores an image and returns its entry in the outputs."""


class CallOutputs:
    """The outputs of a call as its item shows them: texts that follow each other are one entry of logs."""

    def __init__(self, emit: Emit, keep_image: KeepImage) -> None:
        self.outputs: list[JSON] = []
        self.images: list[Image] = []
        self._emit = emit
        self._keep_image = keep_image
        self._room = MAX_LOGS
        self._images_arrived = 0
        self._waiting: list[Output] = []
        self._arrived = asyncio.Event()
        self._ended = asyncio.Event()

    @property
    def logs(self) -> str:
        """All texts."""
        return "".join(each["logs"] for each in self.outputs if each["type"] == "logs")

    def add(self, output: Output) -> None:
        """Take an output of the running code, which nothing vouches for: an image may be none."""
        if isinstance(output, Image):
            kind = image_type(output.content[:SIGNATURE_BYTES])
            if kind is None:
                return
            self._images_arrived += 1
            if self._images_arrived > MAX_IMAGES + 1:
                return
            output = Image(kind, output.content)
            if self._images_arrived > MAX_IMAGES:
                output = Text(IMAGES_LEFT_OUT)
        self._waiting.append(output)
        self._arrived.set()

    def end(self) -> None:
        """Let `emit_all` end with what has arrived."""
        self._ended.set()
        self._arrived.set()

    async def emit_all(self) -> None:
        """Emit the outputs in their order until the end; an image when it is stored."""
        while not (self._ended.is_set() and not self._waiting):
            await self._arrived.wait()
            self._arrived.clear()
            waiting, self._waiting = self._waiting, []
            for is_text, group in groupby(waiting, lambda output: isinstance(output, Text)):
                if is_text:
                    self.add_logs("".join(each.text for each in group if isinstance(each, Text)))
                else:
                    await self._add_images([each for each in group if isinstance(each, Image)])
            if self._ended.is_set():
                self._arrived.set()
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PAUSE):
                    await self._ended.wait()

    async def _add_images(self, images: list[Image]) -> None:
        for image in images:
            self.images.append(image)
            self._add(await self._keep_image(image))

    def add_logs(self, text: str) -> None:
        """Show a text."""
        if not self._room:
            return
        text = without_lone_surrogates(text)
        if len(text) > self._room:
            text = text[: self._room] + LEFT_OUT
        self._room = max(0, self._room - len(text))
        if self.outputs and self.outputs[-1]["type"] == "logs":
            self.outputs[-1]["logs"] += text
            self._emit("output", {"index": len(self.outputs) - 1, "type": "logs", "logs": text})
        else:
            self._add({"type": "logs", "logs": text})

    def _add(self, output: JSON) -> None:
        self.outputs.append(output)
        shown = {name: value for name, value in output.items() if name != "url"}  # it may be the whole image
        self._emit("output", {"index": len(self.outputs) - 1, **shown})
