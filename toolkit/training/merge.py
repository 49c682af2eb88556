"""The merge stage: base and adapter become one model directory that any engine loads."""

from __future__ import annotations

import shutil
from typing import Any, TextIO

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from eval.files import write_json
from toolkit.models import TRAINED_FOR, resolve_model
from toolkit.rundir import Run


def run_merge(run: Run, terminal: TextIO) -> dict[str, Any]:
    """Merge the last stage's adapter into the base; leave model/ in the run directory.

    The sum is taken in float32 and stored so: rounding it to 16 bits would be a different model from the one that was
    trained and measured.
    """
    from toolkit.stages import last_adapter

    adapter = last_adapter(run)
    base = resolve_model(run.recipe.model.reference)
    model = AutoModelForCausalLM.from_pretrained(str(base.path), dtype=torch.float32)
    merged = PeftModel.from_pretrained(model, str(adapter)).merge_and_unload()
    target = run.dir / "model"
    scratch = target.with_name(f".{target.name}.partial")
    for leftover in (scratch, target):
        shutil.rmtree(leftover, ignore_errors=True)
    merged.save_pretrained(scratch)
    AutoTokenizer.from_pretrained(str(adapter)).save_pretrained(scratch)
    write_json(scratch / TRAINED_FOR, {"task": run.recipe.task})
    scratch.replace(target)
    print(f"merge: {adapter} and its base -> {target}", file=terminal, flush=True)
    return {"adapter": adapter.parent.name, "dtype": "float32"}
