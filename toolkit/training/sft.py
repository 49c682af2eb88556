"""The SFT stage: a LoRA adapter learns to write the rationale and the answer."""

from __future__ import annotations

from typing import Any, TextIO

from eval.prompts import template_hash
from toolkit.config import SftConfig
from toolkit.conversations.stage import datasets_of
from toolkit.data import read_examples
from toolkit.models import ResolvedModel, resolve_model
from toolkit.rundir import Run
from toolkit.templates import use_template
from toolkit.training.backends import training_backend
from toolkit.training.rows import sft_rows


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

    use_template(tokenizer, recipe.model.chat_template)
    train_rows, validation_rows, tokens = _rows(run, config, tokenizer, resolved)
    trainer = _trainer(run, config, model, tokenizer, train_rows, validation_rows)
    facts: dict[str, Any] = {}
    if recipe.task is None and validation_rows is not None:  # no reward: what was learned shows in the loss alone
        facts["validation_loss_before"] = trainer.evaluate().get("eval_loss")
    train(trainer, "sft", stage_dir, terminal)
    if validation_rows is not None:
        facts["validation_loss"] = trainer.evaluate().get("eval_loss")
    save_adapter(model, tokenizer, stage_dir / "adapter", recipe.task)
    return {"steps": trainer.state.global_step, "tokens": tokens, **facts, "template": template_hash(tokenizer)}


def _rows(run: Run, config: SftConfig, tokenizer: Any, resolved: ResolvedModel) -> tuple[Any, Any, int]:
    """(training rows, validation rows or None, tokens of the training rows)."""
    from datasets import Dataset

    if run.recipe.task is None:
        return datasets_of(run)
    train_rows, validation_rows = (
        sft_rows(
            read_examples(run.dir / "data" / f"{split}.jsonl"),
            tokenizer,
            resolved.path,
            run.recipe.model.max_length,
            config.direct,
        )
        for split in ("sft", "validation")
    )
    tokens = sum(len(row["input_ids"]) for row in train_rows)
    return Dataset.from_list(train_rows), Dataset.from_list(validation_rows), tokens


def _trainer(run: Run, config: SftConfig, model: Any, tokenizer: Any, rows: Any, validation_rows: Any) -> Any:
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
        train_dataset=rows,
        eval_dataset=validation_rows,
        processing_class=tokenizer,
    )
