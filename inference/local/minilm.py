"""Convert all-MiniLM-L6-v2 into the folder that CTranslate2 loads.

`python -m inference.local.minilm WEIGHTS FOLDER`. The numbers stay float32: int8 would be twice as
fast, but its vectors differ by up to 0.007 in cosine from those of stores that were filled before.
"""

import hashlib
import json
import struct
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from ctranslate2.specs.common_spec import Activation, EmbeddingsMerge
from ctranslate2.specs.transformer_spec import TransformerEncoderModelSpec, TransformerEncoderSpec

from inference.local.weights import EMBEDDING_SHA256

LAYERS, HEADS = 6, 12

Array = np.ndarray[Any, np.dtype[Any]]


class WeightsMismatch(Exception):
    """The weights are not the pinned ones."""


def convert(weights: Path, folder: Path) -> None:
    """Write the model to `folder`; raise WeightsMismatch for any weights but the pinned ones."""
    data = (weights / "model.safetensors").read_bytes()
    if hashlib.sha256(data).hexdigest() != EMBEDDING_SHA256:
        raise WeightsMismatch(
            f"{weights / 'model.safetensors'} is not the pinned file: reinstall its package"
        )
    spec = TransformerEncoderModelSpec(_encoder(_tensors(data)))
    spec.register_vocabulary((weights / "vocab.txt").read_text(encoding="utf-8").splitlines())
    spec.config.unk_token = "[UNK]"  # noqa: S105  A word, not a password.
    spec.config.layer_norm_epsilon = 1e-12
    spec.validate()
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Renamed when complete, so that two processes may convert at the same time.
    with tempfile.TemporaryDirectory(dir=folder.parent) as unfinished:
        model = Path(unfinished, "model")
        model.mkdir()
        spec.save(str(model))
        try:
            model.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise


def _encoder(tensors: dict[str, Array]) -> Any:
    encoder = TransformerEncoderSpec(
        LAYERS,
        HEADS,
        pre_norm=False,
        activation=Activation.GELU,
        layernorm_embedding=True,
        num_source_embeddings=2,
        embeddings_merge=EmbeddingsMerge.ADD,
    )
    encoder.scale_embeddings = False
    encoder.embeddings[0].weight = tensors["embeddings.word_embeddings.weight"]
    encoder.embeddings[1].weight = tensors["embeddings.token_type_embeddings.weight"]
    encoder.position_encodings.encodings = tensors["embeddings.position_embeddings.weight"]
    _norm(encoder.layernorm_embedding, tensors, "embeddings.LayerNorm")
    for number, layer in enumerate(encoder.layer):
        name = f"encoder.layer.{number}"
        projections = [f"{name}.attention.self.{part}" for part in ("query", "key", "value")]
        joined = layer.self_attention.linear[0]
        joined.weight = np.concatenate([tensors[f"{part}.weight"] for part in projections])
        joined.bias = np.concatenate([tensors[f"{part}.bias"] for part in projections])
        _linear(layer.self_attention.linear[1], tensors, f"{name}.attention.output.dense")
        _norm(layer.self_attention.layer_norm, tensors, f"{name}.attention.output.LayerNorm")
        _linear(layer.ffn.linear_0, tensors, f"{name}.intermediate.dense")
        _linear(layer.ffn.linear_1, tensors, f"{name}.output.dense")
        _norm(layer.ffn.layer_norm, tensors, f"{name}.output.LayerNorm")
    return encoder


def _linear(spec: Any, tensors: dict[str, Array], name: str) -> None:
    spec.weight, spec.bias = tensors[f"{name}.weight"], tensors[f"{name}.bias"]


def _norm(spec: Any, tensors: dict[str, Array], name: str) -> None:
    spec.gamma, spec.beta = tensors[f"{name}.weight"], tensors[f"{name}.bias"]


def _tensors(data: bytes) -> dict[str, Array]:
    """Return the float32 tensors of a safetensors file: a length, a JSON header of offsets, the numbers."""
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + length])
    tensors = {}
    for name, entry in header.items():
        if entry.get("dtype") == "F32":
            start, end = (8 + length + offset for offset in entry["data_offsets"])
            tensors[name] = np.frombuffer(data[start:end], np.float32).reshape(entry["shape"])
    return tensors


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
