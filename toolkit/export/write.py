"""Write an export: everything into a directory beside the target, which gets its name only when it is whole."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from eval.files import read_json, whole_directory, write_json
from eval.trained import TRAINED_FOR
from rewards.core import UserError
from toolkit.export.source import ExportSource
from toolkit.templates import say_end_tokens

# Only these leave: no optimizer, no checkpoints, nothing pickled, no machine's paths.
ADAPTER_FILES = (
    "adapter_model.safetensors", "tokenizer.json", "tokenizer_config.json", "tokenizer.model",
    "special_tokens_map.json", "chat_template.jinja", TRAINED_FOR,
)  # fmt: skip


@contextmanager
def new_directory(target: Path) -> Iterator[Path]:
    """A directory to fill; it becomes `target` at the end. Raises UserError where there is something already."""
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UserError(f"{target} exists; choose another --out")
    try:
        with whole_directory(target) as folder:
            yield folder
    except OSError as error:
        raise UserError(f"{target}: can't be written: {error.strerror}. Choose another --out") from error


def write_adapter(source: ExportSource, target: Path) -> None:
    """The adapter and its tokenizer. Its config names the base as a person writes it, not as a path of this machine."""
    adapter = source.model.adapter
    assert adapter is not None  # export() has looked
    for name in ADAPTER_FILES:
        if (adapter / name).is_file():
            shutil.copyfile(adapter / name, target / name)
    config = read_json(adapter / "adapter_config.json", "is it an adapter?")
    write_json(target / "adapter_config.json", {**config, "base_model_name_or_path": source.base})


def rotary(config: Mapping[str, Any]) -> dict[str, Any]:
    """The rotary settings of a config under the names that they had before transformers 5's rope_parameters."""
    parameters = config.get("rope_parameters") or {}
    kinds = {key: value for key, value in parameters.items() if isinstance(value, dict)}  # Gemma: by kind of attention
    found = kinds.get("full_attention", parameters)
    older: dict[str, Any] = {}
    if "rope_theta" in found:
        older["rope_theta"] = found["rope_theta"]
    if "rope_theta" in kinds.get("sliding_attention", {}):
        older["rope_local_base_freq"] = kinds["sliding_attention"]["rope_theta"]
    if found.get("rope_type", "default") != "default":
        older["rope_scaling"] = {key: value for key, value in found.items() if key != "rope_theta"}
    return older


def write_merged(source: ExportSource, target: Path) -> None:
    """The trained weights, or base and adapter summed in float32; then rounded once to bfloat16."""
    import torch
    from transformers import AutoTokenizer

    from toolkit.training.merge import merged_model

    trained = source.model.adapter or source.model.path
    merged = merged_model(source.model.path, source.model.adapter).to(torch.bfloat16)
    merged.save_pretrained(target, safe_serialization=True)
    config = read_json(target / "config.json", "export again")
    # transformers 4 takes a rotary base of 10000 where it finds no rope_theta, without a word: another model
    write_json(target / "config.json", {**rotary(config), **config})
    tokenizer = AutoTokenizer.from_pretrained(str(trained))
    tokenizer.save_pretrained(target)
    say_end_tokens(target, tokenizer)
    if (trained / TRAINED_FOR).is_file():  # with the hashes by which an evaluation knows the template again
        shutil.copyfile(trained / TRAINED_FOR, target / TRAINED_FOR)
