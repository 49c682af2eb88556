"""The SFT stage: a LoRA adapter learns to write the rationale and the answer."""

from __future__ import annotations

from typing import Any, TextIO

from eval.prompts import template_hash
from toolkit.config import SftConfig
from toolkit.data import read_examples
from toolkit.models import resolve_model
from toolkit.rundir import Run
from toolkit.training.backends import training_backend
from toolkit.training.rows import Row, sft_rows


def run_sft(run: Run, terminal: TextIO) -> dict[str, Any]:
    """Train, leave sft/adapter in the run directory, and return figures worth keeping."""
    recipe = run.recipe
    config = recipe.sft
    assert config is not None  # toolkit.stages runs only the stages that a recipe has
    stage_dir = run.dir / "sft"
    stage_dir.mkdir(exist_ok=True)
    resolved = resolve_model(recipe.model.reference)
    model, tokenizer = training_backend(recipe.model.backend).load(recipe.model, resolved, recipe.lora, recipe.seed)

    # After the backend: unsloth patches these on import.
    from toolkit.training.common import save_adapter, train

    rows = {
        split: sft_rows(
            read_examples(run.dir / "data" / f"{split}.jsonl"),
            tokenizer,
            resolved.path,
            recipe.model.max_length,
            config.direct,
        )
        for split in ("sft", "validation")
    }
    trainer = _trainer(run, config, model, tokenizer, rows)
    train(trainer, "sft", stage_dir, terminal)
    validation = trainer.evaluate()
    save_adapter(model, tokenizer, stage_dir / "adapter", recipe.task)
    tokens = sum(len(row["input_ids"]) for row in rows["sft"])
    return {
        "steps": trainer.state.global_step,
        "tokens": tokens,
        "validation_loss": validation.get("eval_loss"),
        "template": template_hash(tokenizer),
    }


def _trainer(run: Run, config: SftConfig, model: Any, tokenizer: Any, rows: dict[str, list[Row]]) -> Any:
    from datasets import Dataset
    from trl import SFTConfig as TrlSftConfig
    from trl import SFTTrainer

    from toolkit.training.common import shared_arguments

    arguments = TrlSftConfig(
        **shared_arguments(run.dir / "sft", config.save_steps, config.learning_rate, config.warmup, run.recipe.seed),
        per_device_train_batch_size=config.batch_size,
        per_device_eval_batch_size=config.batch_size,
        gradient_accumulation_steps=1,
        num_train_epochs=config.epochs,
        max_steps=config.max_steps,
        max_length=run.recipe.model.max_length,
        packing=False,
        padding_free=False,
    )
    return SFTTrainer(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_list(rows["sft"]),
        eval_dataset=Dataset.from_list(rows["validation"]),
        processing_class=tokenizer,
    )
