"""The merge stage: base and adapter become one model directory that any engine loads."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, TextIO

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from eval.files import whole_directory
from eval.trained import TRAINED_FOR
from toolkit.models import resolve_model
from toolkit.rundir import Run
from toolkit.stages import last_adapter
from toolkit.templates import say_end_tokens


def run_merge(run: Run, terminal: TextIO) -> dict[str, Any]:
    """Merge the last stage's adapter into the base; leave model/ in the run directory."""
    return _merge(run, last_adapter(run), run.dir / "model", terminal)


def run_merge_sft(run: Run, terminal: TextIO) -> dict[str, Any]:
    """The same for the warm start, in sft/model, so that it is evaluated the way the tuned model is."""
    return _merge(run, run.dir / "sft" / "adapter", run.dir / "sft" / "model", terminal)


def _merge(run: Run, adapter: Path, target: Path, terminal: TextIO) -> dict[str, Any]:
    """The sum is taken in float32 and stored so: rounded to 16 bits it would be another model than was trained."""
    with whole_directory(target) as folder:
        merged_model(resolve_model(run.recipe.model.reference).path, adapter).save_pretrained(folder)
        tokenizer = AutoTokenizer.from_pretrained(str(adapter))
        tokenizer.save_pretrained(folder)
        say_end_tokens(folder, tokenizer)  # the files are the base's, which may end documents where this ends turns
        shutil.copyfile(adapter / TRAINED_FOR, folder / TRAINED_FOR)  # what training saw, not what was loaded here
    print(f"{adapter} and its base -> {target}", file=terminal, flush=True)
    return {"dtype": "float32"}


def merged_model(base: Path, adapter: Path | None) -> Any:
    """Base and adapter, where there is one, summed in float32."""
    model = AutoModelForCausalLM.from_pretrained(str(base), dtype=torch.float32, use_safetensors=True)
    return model if adapter is None else PeftModel.from_pretrained(model, str(adapter)).merge_and_unload()
