"""How large a model is, read from the headers of its files; no weights are loaded."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# For a model that is known by its name only: the shapes of common models, by parameters.
_TYPICAL = (
    (0.2e9, 30, 576),
    (0.7e9, 24, 1024),
    (2e9, 28, 1536),
    (4e9, 36, 2560),
    (9e9, 36, 4096),
    (math.inf, 64, 5120),
)
_VOCABULARY = 152_000  # Qwen's, the largest of the common ones but Gemma's


@dataclass(frozen=True, slots=True)
class Size:
    """parameters: of the whole model. layers, width (of the hidden state), vocabulary: of its transformer.

    inner: of a layer's MLP; queries, keys: all heads of a layer together. 0 where the file doesn't say it. tied: the
    head's weights are the embedding's.
    """

    parameters: float
    layers: int
    width: int
    vocabulary: int
    inner: int = 0
    queries: int = 0
    keys: int = 0
    tied: bool = True

    @property
    def embedded(self) -> int:
        """Parameters of the embedding and of the head."""
        return self.vocabulary * self.width * (1 if self.tied else 2)


def size_of_directory(directory: Path) -> Size | None:
    """From config.json and the headers of *.safetensors; None where they don't say."""
    try:
        config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
        parameters = sum(_elements(path) for path in directory.glob("*.safetensors"))
        text = {"tie_word_embeddings": config.get("tie_word_embeddings", True), **config.get("text_config", config)}
        return size_of_config(text, parameters) if parameters else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def size_of_config(config: Mapping[str, Any], parameters: float) -> Size:
    """From the keys of a text model's config.json. Raises KeyError where one that every model has isn't there."""
    width, heads = int(config["hidden_size"]), int(config.get("num_attention_heads") or 0)
    each = int(config.get("head_dim") or (width // heads if heads else 0))
    keys = int(config.get("num_key_value_heads") or heads) * each
    inner = int(config.get("intermediate_size") or 0)
    layers, vocabulary = int(config["num_hidden_layers"]), int(config["vocab_size"])
    tied = bool(config.get("tie_word_embeddings", True))
    return Size(parameters, layers, width, vocabulary, inner, heads * each, keys, tied)


def _elements(path: Path) -> int:
    """Elements of all tensors of a safetensors file: its header is JSON behind 8 bytes of length."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > min(path.stat().st_size, 1 << 28):
            raise ValueError(f"{path}: not a safetensors file")
        header: dict[str, Any] = json.loads(file.read(length))
    return sum(math.prod(each["shape"]) for name, each in header.items() if name != "__metadata__")


def size_of_gguf(path: Path) -> Size | None:
    """From the header of a GGUF file; None where it can't be read."""
    try:
        from gguf import GGUFReader

        reader = GGUFReader(path)
        kind = bytes(reader.fields["general.architecture"].parts[-1]).decode()
        names = ("block_count", "embedding_length", "feed_forward_length", "attention.head_count")
        layers, width, inner, heads = (int(reader.fields[f"{kind}.{key}"].parts[-1][0]) for key in names)
        few, each = (
            int(reader.fields[name].parts[-1][0]) if name in reader.fields else default
            for name, default in (
                (f"{kind}.attention.head_count_kv", heads),
                (f"{kind}.attention.key_length", width // heads),
            )
        )
        words = len(reader.fields["tokenizer.ggml.tokens"].data)
    except Exception:  # a file from anywhere, or no gguf package: the size stays unknown, nothing else
        return None
    parameters = float(sum(int(tensor.n_elements) for tensor in reader.tensors))
    tied = all(tensor.name != "output.weight" for tensor in reader.tensors)
    return Size(parameters, layers, width, words, inner, heads * each, few * each, tied)


def size_of_name(name: str) -> Size | None:
    """From what a name says of itself: Qwen2.5-0.5B-Instruct, gemma-3-270m. None where it says nothing."""
    found = re.search(r"(?<![\w.])(\d+(?:\.\d+)?)\s?([BbMm])(?![A-Za-z0-9])", name.replace("_", "-"))
    if found is None:
        return None
    parameters = float(found[1]) * (1e9 if found[2] in "Bb" else 1e6)
    _, layers, width = next(each for each in _TYPICAL if parameters <= each[0])
    return Size(parameters, layers, width, _VOCABULARY)
