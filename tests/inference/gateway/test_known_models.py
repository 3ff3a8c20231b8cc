"""Context windows and readers of images are read from litellm's table as it is."""

from importlib.util import find_spec
from pathlib import Path

import orjson

from inference.gateway.routing.known_models import known_models


def test_the_search_finds_what_a_parser_finds() -> None:
    spec = find_spec("litellm")
    assert spec is not None
    assert spec.origin is not None
    table = orjson.loads(next(Path(spec.origin).parent.glob("model_prices*.json")).read_bytes())
    windows = {name: entry.get("max_input_tokens") for name, entry in table.items()}
    assert len(windows) > 1000
    known = known_models()
    assert known.windows == {name: size for name, size in windows.items() if isinstance(size, int)}
    assert known.image_readers == {
        name for name, entry in table.items() if entry.get("supports_vision") is True
    }
