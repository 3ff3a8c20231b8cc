"""Validates the input file of a batch line by line, while it is copied."""

import hashlib
from collections.abc import AsyncIterator, Callable

from inference.batches.caller import LineCaller, Sender
from inference.batches.lines import LineSplitter, RawLine
from inference.batches.objects import batch_error
from inference.errors import ModelNotFound
from persistence.large_json import Pauses
from persistence.types import JSON
from spec.errors import InvalidRequest

MAX_LINES = 50_000

MAX_BYTES = 200 * 1024 * 1024

MAX_ERRORS = 100
"""Errors that a batch names; the lines behind the last of them are not read."""

DIGEST_BYTES = 16


class Validation:
    """One pass over an input file: `pieces` passes its bytes on, and leaves what was found here.

    `model` is that of all lines, None where they name none. `check_model` raises ModelNotFound.
    """

    def __init__(
        self, caller: LineCaller, sender: Sender, endpoint: str, check_model: Callable[[str], None]
    ) -> None:
        self.errors: list[JSON] = []
        self.lines = 0
        self.model: str | None = None
        self._caller = caller
        self._sender = sender
        self._endpoint = endpoint
        self._check_model = check_model
        self._ids: set[bytes] = set()

    async def pieces(self, source: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Yield the pieces of a file, each once its lines were validated; end at too many errors."""
        splitter, pauses = LineSplitter(self._caller.longest_line), Pauses()
        async for piece in source:
            for line in splitter.feed(piece):
                await self._validate(line)
                await pauses.pause_if_due()
                if len(self.errors) >= MAX_ERRORS or self.lines > MAX_LINES:
                    return
            yield piece
        for line in splitter.finish():
            await self._validate(line)
        if not self.lines:
            message = "The input file is empty: a batch must contain at least one request."
            self.errors.append(batch_error("empty_file", message))

    async def _validate(self, line: RawLine) -> None:
        self.lines += 1
        if self.lines > MAX_LINES:
            message = f"The input file has more requests than the {MAX_LINES:,} that a batch may have."
            self.errors.append(batch_error("too_many_requests", message))
            return
        if line.raw is None:
            message = f"This line is longer than {self._caller.longest_line:,} bytes."
            self.errors.append(batch_error("line_too_long", message, line=line.number))
            return
        try:
            checked = await self._caller.check(self._sender, self._endpoint, line.raw)
            self._check_id(checked["custom_id"])
            self._check_models(checked["body"].get("model"))
        except InvalidRequest as exc:
            code = exc.code or "invalid_request"
            self.errors.append(batch_error(code, exc.message, param=exc.param, line=line.number))

    def _check_id(self, custom_id: str) -> None:
        digest = hashlib.blake2b(custom_id.encode(), digest_size=DIGEST_BYTES).digest()
        if digest in self._ids:
            message = (
                f"The custom_id '{custom_id}' is that of another request too; each request of a batch needs "
                "one of its own."
            )
            raise InvalidRequest(message, "custom_id", "duplicate_custom_id")
        self._ids.add(digest)

    def _check_models(self, model: str | None) -> None:
        if len(self._ids) == 1:
            self.model = model
            if model is not None:
                self._check_exists(model)
        elif model != self.model:
            message = f"All requests of a batch must name one model: this is '{model}', not '{self.model}'."
            raise InvalidRequest(message, "body.model", "mismatched_model")

    def _check_exists(self, model: str) -> None:
        try:
            self._check_model(model)
        except ModelNotFound as exc:
            raise InvalidRequest(str(exc), "body.model", "model_not_found") from exc
