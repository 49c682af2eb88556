"""SFT on a processor: TRL's trainer as it comes against the toolkit's, on the same short rows.

    python benchmarks/cpu_training.py --model MODEL_DIR [--rows 48] [--tuning lora]

Each side is a process of its own, one after the other; both train the same rows in the same order, in steps of eight
sequences, and both losses are shown: the sides must learn the same. The first step isn't timed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.gpu_common import MAX_LENGTH, TASK
from toolkit.ending import exit_code

STEP_ROWS = 8
LEARNING_RATE = 1e-3


def main() -> None:
    """Both sides, and the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=48)
    parser.add_argument("--task", default=TASK, help="whose rows; the plain one's are alike in length")
    parser.add_argument("--tuning", choices=("lora", "full"), default="lora")
    parser.add_argument("--side", choices=("trl", "ours"), help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side is not None:
        _side(arguments)
        return
    with tempfile.TemporaryDirectory() as folder:
        results = {side: _run(side, arguments, Path(folder)) for side in ("trl", "ours")}
    for side, row in results.items():
        print(f"{side:<6}{row['tokens_per_second']:>8.0f} tokens/s{row['seconds']:>8.1f} s  losses {row['losses']}")
    print(f"ours is {results['ours']['tokens_per_second'] / results['trl']['tokens_per_second']:.2f} times as fast")


def _run(side: str, arguments: Any, folder: Path) -> dict[str, Any]:
    out = folder / side
    out.mkdir()
    command = [sys.executable, "-m", "benchmarks.cpu_training", "--model", str(arguments.model), "--side", side]
    command += [
        "--rows",
        str(arguments.rows),
        "--task",
        arguments.task,
        "--tuning",
        arguments.tuning,
        "--out",
        str(out),
    ]
    if code := subprocess.run(command, check=False, stdout=subprocess.DEVNULL).returncode:
        raise SystemExit(code)  # the side has said why
    result: dict[str, Any] = json.loads((out / "result.json").read_text(encoding="utf-8"))
    return result


def _side(chosen: Any) -> None:
    trainer, lengths = (_trl if chosen.side == "trl" else _ours)(chosen)
    clock = _clock()
    trainer.add_callback(clock)
    trainer.train()
    seconds = clock.moments[-1] - clock.moments[0]
    losses = [round(row["loss"], 4) for row in trainer.state.log_history if "loss" in row]
    tokens = sum(lengths) * (len(clock.moments) - 1) / len(clock.moments)
    result = {"seconds": seconds, "tokens_per_second": tokens / seconds, "losses": losses}
    (chosen.out / "result.json").write_text(json.dumps(result), encoding="utf-8")


def _clock() -> Any:
    from transformers import TrainerCallback

    class Clock(TrainerCallback):
        def __init__(self) -> None:
            self.moments: list[float] = []

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.moments.append(time.perf_counter())

    return Clock()


def _rows(chosen: Any) -> Any:
    from eval.prompts import load_tokenizer
    from tasks.registry import load_task
    from toolkit.data import write_examples
    from toolkit.training.rows import cached_rows

    path = chosen.out / "rows.jsonl"
    write_examples(path, load_task(chosen.task).examples("train", chosen.rows, 0))
    return cached_rows(path, load_tokenizer(chosen.model), chosen.model, MAX_LENGTH, False)


def _trl(chosen: Any) -> tuple[Any, list[int]]:
    """SFTTrainer's defaults but for what makes the sides train the same: step, rate, order, adapter, no warmup."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed
    from trl import SFTConfig, SFTTrainer

    from toolkit.training.cpu import use_torch_log_probs_on_cpu
    from toolkit.training.rows import lengths_of

    use_torch_log_probs_on_cpu()
    rows = _rows(chosen)
    set_seed(0)
    model: Any = AutoModelForCausalLM.from_pretrained(str(chosen.model), dtype=torch.float32)
    if chosen.tuning == "lora":
        modules = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
        model = get_peft_model(model, LoraConfig(r=32, lora_alpha=64, target_modules=modules, task_type="CAUSAL_LM"))
    config = SFTConfig(
        output_dir=str(chosen.out), per_device_train_batch_size=STEP_ROWS, learning_rate=LEARNING_RATE,
        num_train_epochs=1, lr_scheduler_type="cosine", adam_beta2=0.95, weight_decay=0.0, use_cpu=True,
        bf16=False, logging_steps=1, report_to=[], save_strategy="no", disable_tqdm=True,
        seed=0, data_seed=0, max_length=MAX_LENGTH,
    )  # fmt: skip
    tokenizer = AutoTokenizer.from_pretrained(str(chosen.model))
    plain = rows.with_format(None)
    return SFTTrainer(model, config, train_dataset=plain, processing_class=tokenizer), lengths_of(rows)


def _ours(chosen: Any) -> tuple[Any, list[int]]:
    from toolkit.config import check_recipe
    from toolkit.models import resolve_model
    from toolkit.rundir import open_run
    from toolkit.training.backends import training_backend
    from toolkit.training.rows import lengths_of
    from toolkit.training.sft import make_trainer

    recipe = check_recipe(
        {
            "task": chosen.task,
            "output": str(chosen.out / "run"),
            "model": {
                "reference": str(chosen.model),
                "backend": "transformers",
                "tuning": chosen.tuning,
                "max_length": MAX_LENGTH,
            },
            "data": {"sft": chosen.rows, "grpo": 1, "test": 1},
            "sft": {"batch_size": STEP_ROWS, "learning_rate": LEARNING_RATE, "warmup": 0.0, "save_steps": 100_000},
        },
        "here",
    )
    run = open_run(recipe)
    rows = _rows(chosen)
    model, tokenizer = training_backend("transformers").load(
        recipe.model, resolve_model(str(chosen.model)), recipe.lora, 0
    )
    assert recipe.sft is not None
    return make_trainer(run, recipe.sft, model, tokenizer, rows, None, sys.stderr), lengths_of(rows)


if __name__ == "__main__":
    sys.exit(exit_code(main))
