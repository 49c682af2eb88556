"""The SFT stage: an adapter, or the whole model, learns to write the rationale and the answer."""

from __future__ import annotations

import os
import time
from typing import Any, TextIO

import torch

from eval.prompts import template_hash
from toolkit.config import SftConfig
from toolkit.conversations.stage import datasets_of
from toolkit.models import ResolvedModel, resolve_model
from toolkit.rundir import Run
from toolkit.templates import use_template
from toolkit.training.backends import training_backend
from toolkit.training.processes import gathered, one_at_a_time
from toolkit.training.rows import cached_rows, lengths_of


def run_sft(run: Run, terminal: TextIO) -> dict[str, Any]:
    """Train, leave sft/adapter (tuning full: sft/weights) in the run directory, and return figures worth keeping."""
    recipe = run.recipe
    config = recipe.sft
    assert config is not None  # toolkit.stages runs only the stages that a recipe has
    stage_dir = run.dir / "sft"
    stage_dir.mkdir(exist_ok=True)
    # Packed rows differ in length a little: without this, memory breaks into pieces that fit none of them.
    os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    resolved = resolve_model(recipe.model.reference)
    backend = training_backend(recipe.model.backend)

    # After the backend: unsloth patches these on import.
    from toolkit.conversations.preparing import tokenizer_for
    from toolkit.training.common import save_trained, train
    from toolkit.training.heldout import held_out
    from toolkit.training.oom import refuse_before_loading, smaller_on_oom

    # Before the model: rows are tokenized in forked processes, which a GPU in use doesn't survive.
    plain = tokenizer_for(resolved.adapter or resolved.path, recipe.model.chat_template)
    with one_at_a_time(run.dir / "sft" / ".rows.lock"):
        train_rows, validation_rows, tokens = training_rows(run, config, plain, resolved)
    refuse_before_loading(run, "sft", resolved, lengths_of(train_rows))
    model, tokenizer = backend.load(recipe.model, resolved, recipe.lora, recipe.seed)
    use_template(tokenizer, recipe.model.chat_template)
    trainer = make_trainer(run, config, model, tokenizer, train_rows, validation_rows, terminal)
    facts: dict[str, Any] = {}
    with smaller_on_oom(run, "sft", trainer.budget):
        if recipe.task is None and validation_rows is not None:  # no reward: what was learned shows in the loss alone
            facts["validation_loss_before"] = trainer.evaluate().get("eval_loss")
        started = time.perf_counter()
        facts |= train(trainer, "sft", stage_dir, terminal, held_out(run, "sft", trainer, tokenizer, terminal))
        seconds = time.perf_counter() - started
        if validation_rows is not None:
            facts["validation_loss"] = trainer.evaluate().get("eval_loss")
    save_trained(model, tokenizer, stage_dir, recipe, trainer)
    steps = trainer.state.global_step
    if seen := sum(gathered([getattr(trainer, "tokens_seen", 0)])):  # a resumed run counts what it did itself
        facts["tokens_per_second"] = round(seen / seconds)
    return {"steps": steps, "tokens": tokens, **facts, "template": template_hash(tokenizer)}


def training_rows(run: Run, config: SftConfig, tokenizer: Any, resolved: ResolvedModel) -> tuple[Any, Any, int]:
    """(training rows, validation rows or None, tokens of the training rows)."""
    if run.recipe.task is None:
        return datasets_of(run)
    train_rows, validation_rows = (
        cached_rows(
            run.dir / "data" / f"{split}.jsonl", tokenizer, resolved.path, run.recipe.model.max_length, config.direct
        )
        for split in ("sft", "validation")
    )
    return train_rows, validation_rows, sum(lengths_of(train_rows))


def make_trainer(
    run: Run, config: SftConfig, model: Any, tokenizer: Any, rows: Any, validation_rows: Any, terminal: TextIO
) -> Any:
    """TRL's trainer, or ours on it; its .budget is a Chosen, the most tokens in a pass."""
    from toolkit.training.fast import compile_layers, fast_path, narrow_stream
    from toolkit.training.packing import PackedCollator, base_of, use_packed_attention
    from toolkit.training.trainer import FastSftTrainer

    lengths = lengths_of(rows)
    base = base_of(model)
    processes = run.recipe.launch.processes
    share = config.model_copy(update={"batch_size": config.batch_size // processes})  # of a step, for this process
    path = fast_path(base, run.recipe.model, share, lengths, config.epochs, run.dir)
    passes = max(gathered([path.passes]))  # by the GPU with the least memory left
    if processes > 1:
        print(f"sft: {processes} processes, each has {share.batch_size} of a step's", file=terminal, flush=True)
    for note in path.notes:
        print(f"sft: {note}", file=terminal, flush=True)
    collator = None
    if path.packed:
        longest = max(lengths + (lengths_of(validation_rows) if validation_rows is not None else []))
        unsloths = run.recipe.model.backend == "unsloth" and torch.cuda.is_available()
        collator = PackedCollator(tokenizer.pad_token_id or 0, longest, unsloth=unsloths)
        if unsloths:
            from toolkit.training.unsloth_backend import give_unsloth_varlen

            give_unsloth_varlen()
        else:
            use_packed_attention(base)
    if path.packed and run.recipe.model.backend == "transformers":
        narrow_stream(base)
    if path.compiled:
        compile_layers(base)
    arguments = _arguments(run, share, passes)
    shared = {"args": arguments, "eval_dataset": validation_rows, "processing_class": tokenizer}
    if path.own_loss:
        trainer: Any = FastSftTrainer(model=model, train_dataset=rows, collator=collator, **shared)
    else:
        from trl import SFTTrainer

        trainer = SFTTrainer(model=model, train_dataset=rows, data_collator=collator, **shared)
    trainer.budget = path.budget
    return trainer


def _arguments(run: Run, config: SftConfig, passes: int) -> Any:
    from trl import SFTConfig as TrlSftConfig

    from toolkit.training.common import shared_arguments

    on_gpu = torch.cuda.is_available()
    shared = shared_arguments(run.dir / "sft", config.save_steps, config.learning_rate, config.warmup, run.recipe.seed)
    if on_gpu:  # an entry makes the host wait for the whole queue of the GPU
        shared["logging_steps"] = 10
    return TrlSftConfig(
        **shared,
        per_device_train_batch_size=config.batch_size // passes,
        per_device_eval_batch_size=config.batch_size // passes,
        gradient_accumulation_steps=passes,
        num_train_epochs=config.epochs,
        max_steps=config.max_steps,
        max_length=run.recipe.model.max_length,
        packing=False,  # TRL's packs documents for FlashAttention alone
        padding_free=False,
        dataset_kwargs={"skip_prepare_dataset": True},  # rows come tokenized and no longer than max_length
        # Batches are collated while the GPU works; a CPU has no core to spare.
        dataloader_num_workers=2 if on_gpu else 0,
        dataloader_persistent_workers=on_gpu,
        accelerator_config={"non_blocking": on_gpu},
    )
