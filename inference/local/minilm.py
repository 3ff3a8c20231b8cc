"""Turns all-MiniLM-L6-v2's safetensors into the GGUF file that llama.cpp reads, once.

`python -m inference.local.minilm FOLDER FILE`.
"""

import hashlib
import json
import struct
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from inference.local.weights import EMBEDDING_SHA256

LAYERS, WIDTH, HIDDEN, HEADS, POSITIONS = 6, 384, 1536, 12, 512
SPECIAL = {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102, "[MASK]": 103}

Array = np.ndarray[Any, np.dtype[Any]]


class WeightsRefused(Exception):
    """The weights are not those that were pinned."""


def convert(weights: Path, path: Path) -> None:
    """Make the GGUF file `path` from the folder `weights`; WeightsRefused for others than the pinned."""
    data = (weights / "model.safetensors").read_bytes()
    if hashlib.sha256(data).hexdigest() != EMBEDDING_SHA256:
        raise WeightsRefused(f"{weights / 'model.safetensors'} is not the file that was pinned")
    words = (weights / "vocab.txt").read_text(encoding="utf-8").splitlines()
    path.parent.mkdir(parents=True, exist_ok=True)
    # Whole or not at all, whoever else makes it at the same time.
    with tempfile.TemporaryDirectory(dir=path.parent) as unfinished:
        _write(f"{unfinished}/model.gguf", data, words)
        Path(unfinished, "model.gguf").rename(path)


def _write(path: str, data: bytes, words: list[str]) -> None:
    writer = gguf.GGUFWriter(path, "bert")
    writer.add_name("all-MiniLM-L6-v2")
    writer.add_context_length(POSITIONS)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_block_count(LAYERS)
    writer.add_head_count(HEADS)
    writer.add_layer_norm_eps(1e-12)
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType.MEAN)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    _add_vocabulary(writer, words)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.BERT, LAYERS)
    for name, tensor in _tensors(data):
        target = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if target is None:  # position_ids, and the pooler: the mean is taken instead
            continue
        if tensor.ndim == 2 and "position" not in name and "token_type" not in name:
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(target, gguf.quants.quantize(tensor, kind), raw_dtype=kind)
        else:
            writer.add_tensor(target, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_vocabulary(writer: gguf.GGUFWriter, words: list[str]) -> None:
    """WordPiece as llama.cpp has it: a word's first piece is marked, the later ones are not."""
    writer.add_token_type_count(2)
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([_token(word) for word in words])
    kinds = [gguf.TokenType.CONTROL if word in SPECIAL else gguf.TokenType.NORMAL for word in words]
    writer.add_token_types(kinds)
    writer.add_pad_token_id(SPECIAL["[PAD]"])
    writer.add_unk_token_id(SPECIAL["[UNK]"])
    writer.add_bos_token_id(SPECIAL["[CLS]"])
    writer.add_sep_token_id(SPECIAL["[SEP]"])
    writer.add_mask_token_id(SPECIAL["[MASK]"])


def _token(word: str) -> str:
    if word.startswith("[") and word.endswith("]"):
        return word
    return word[2:] if word.startswith("##") else f"\u2581{word}"


def _tensors(data: bytes) -> Iterator[tuple[str, Array]]:
    """The float32 tensors of a safetensors file: a length, a JSON header of offsets, the numbers."""
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + length])
    for name, entry in header.items():
        if entry.get("dtype") != "F32":
            continue
        start, end = (8 + length + offset for offset in entry["data_offsets"])
        yield name, np.frombuffer(data[start:end], np.float32).reshape(entry["shape"])


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
