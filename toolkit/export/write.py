"""Write an export: everything into a directory beside the target, which gets its name only when it is whole."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from eval.files import read_json, write_json
from rewards.core import UserError
from toolkit.export.source import ExportSource
from toolkit.models import TRAINED_FOR

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
    scratch = target.with_name(f".{target.name}.partial")
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        scratch.mkdir(parents=True)
        yield scratch
        if target.is_dir():
            target.rmdir()
        scratch.replace(target)
    except OSError as error:
        raise UserError(f"{target}: can't be written: {error.strerror}. Choose another --out") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def write_adapter(source: ExportSource, target: Path) -> None:
    """The adapter and its tokenizer. Its config names the base as a person writes it, not as a path of this machine."""
    for name in ADAPTER_FILES:
        if (source.adapter / name).is_file():
            shutil.copyfile(source.adapter / name, target / name)
    config = read_json(source.adapter / "adapter_config.json", "is it an adapter?")
    write_json(target / "adapter_config.json", {**config, "base_model_name_or_path": source.base})


def write_merged(source: ExportSource, target: Path) -> None:
    """Base and adapter summed in float32, then rounded once to bfloat16."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base = AutoModelForCausalLM.from_pretrained(str(source.base_dir), dtype=torch.float32, use_safetensors=True)
    merged = PeftModel.from_pretrained(base, str(source.adapter)).merge_and_unload().to(torch.bfloat16)
    merged.save_pretrained(target, safe_serialization=True)
    AutoTokenizer.from_pretrained(str(source.adapter)).save_pretrained(target)
    write_json(target / TRAINED_FOR, {"task": source.task})
