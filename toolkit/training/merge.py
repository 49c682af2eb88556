"""The merge stage: base and adapter become one model directory that any engine loads."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, TextIO

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from eval.trained import TRAINED_FOR
from toolkit.models import resolve_model
from toolkit.rundir import Run
from toolkit.stages import last_adapter
from toolkit.training.backends import trained_dir


def run_merge(run: Run, terminal: TextIO) -> dict[str, Any]:
    """Merge the last stage's adapter into the base; leave model/ in the run directory."""
    return _merge(run, last_adapter(run), run.dir / "model", terminal)


def run_merge_sft(run: Run, terminal: TextIO) -> dict[str, Any]:
    """The same for the warm start, in sft/model, so that it is evaluated the way the tuned model is."""
    return _merge(run, run.dir / "sft" / "adapter", run.dir / "sft" / "model", terminal)


def _merge(run: Run, adapter: Path, target: Path, terminal: TextIO) -> dict[str, Any]:
    """The sum is taken in float32 and stored so: rounded to 16 bits it would be another model than was trained.

    Where all weights were trained there is nothing to add: they are the model.
    """
    if run.recipe.model.tuning == "full":
        return _copy(trained_dir(adapter.parent, "full"), target, terminal)
    base = resolve_model(run.recipe.model.reference)
    model = AutoModelForCausalLM.from_pretrained(str(base.path), dtype=torch.float32)
    merged = PeftModel.from_pretrained(model, str(adapter)).merge_and_unload()
    scratch = target.with_name(f".{target.name}.partial")
    for leftover in (scratch, target):
        shutil.rmtree(leftover, ignore_errors=True)
    merged.save_pretrained(scratch)
    AutoTokenizer.from_pretrained(str(adapter)).save_pretrained(scratch)
    shutil.copyfile(adapter / TRAINED_FOR, scratch / TRAINED_FOR)  # what training saw, not what was loaded here
    scratch.replace(target)
    print(f"{adapter} and its base -> {target}", file=terminal, flush=True)
    return {"dtype": "float32"}


def _copy(weights: Path, target: Path, terminal: TextIO) -> dict[str, Any]:
    scratch = target.with_name(f".{target.name}.partial")
    for leftover in (scratch, target):
        shutil.rmtree(leftover, ignore_errors=True)
    shutil.copytree(weights, scratch)
    scratch.replace(target)
    print(f"{weights} -> {target}", file=terminal, flush=True)
    return {"dtype": "float32"}
