"""The GRPO stage: the model samples answers to each prompt, and learns from how they score against each other."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TextIO

from eval.prompts import template_hash
from toolkit.config import GrpoConfig
from toolkit.data import read_examples
from toolkit.models import resolve_model
from toolkit.rundir import Run
from toolkit.stages import task_of
from toolkit.templates import use_template
from toolkit.training.backends import trained_dir, training_backend
from toolkit.training.rollouts import RewardLedger, weighted_rewards


def run_grpo(run: Run, terminal: TextIO) -> dict[str, Any]:
    """Train on from sft/adapter (or from the base), leave grpo/adapter, and return figures worth keeping."""
    recipe = run.recipe
    config = recipe.grpo
    assert config is not None  # toolkit.stages runs only the stages that a recipe has
    stage_dir = run.dir / "grpo"
    stage_dir.mkdir(exist_ok=True)
    resolved = resolve_model(recipe.model.reference)
    if recipe.sft is not None:
        trained = trained_dir(run.dir / "sft", recipe.model.tuning)
        full = recipe.model.tuning == "full"
        resolved = replace(resolved, path=trained) if full else replace(resolved, adapter=trained)
    model, tokenizer = training_backend(recipe.model.backend).load(recipe.model, resolved, recipe.lora, recipe.seed)

    # After the backend: unsloth patches these on import.
    from toolkit.training.common import save_trained, train

    use_template(tokenizer, recipe.model.chat_template)
    examples = {example.id: example for example in read_examples(run.dir / "data" / "grpo.jsonl")}
    rewards = weighted_rewards(task_of(recipe), recipe.rewards)
    ledger = RewardLedger(examples, rewards, stage_dir / "rollouts.jsonl")
    rows = [{"prompt": list(example.messages), "example_id": example.id} for example in examples.values()]
    trainer = _trainer(run, config, model, tokenizer, rows, ledger)
    train(trainer, "grpo", stage_dir, terminal)
    save_trained(model, tokenizer, stage_dir, recipe)
    return {
        "steps": trainer.state.global_step,
        "rollouts": ledger.rollouts,
        "template": template_hash(tokenizer),
    }


def _trainer(run: Run, config: GrpoConfig, model: Any, tokenizer: Any, rows: Any, ledger: RewardLedger) -> Any:
    from datasets import Dataset
    from trl import GRPOConfig as TrlGrpoConfig
    from trl import GRPOTrainer

    from toolkit.training.common import shared_arguments

    arguments = TrlGrpoConfig(
        **shared_arguments(run.dir / "grpo", config.save_steps, config.learning_rate, config.warmup, run.recipe.seed),
        per_device_train_batch_size=config.forward_batch,
        gradient_accumulation_steps=config.prompts * config.generations // config.forward_batch,
        max_steps=config.steps,
        num_generations=config.generations,
        max_completion_length=config.max_completion_length,
        temperature=config.temperature,
        top_p=1.0,
        beta=config.beta,
        loss_type=config.loss_type,
        epsilon=0.2,
        epsilon_high=0.28,
        mask_truncated_completions=False,  # a cut completion scores 0 and should be unlearned
        reward_weights=list(ledger.weights),
        use_vllm=config.vllm,
        vllm_mode="colocate",
        vllm_gpu_memory_utilization=config.vllm_memory,
        remove_unused_columns=False,
    )
    return GRPOTrainer(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_list(rows),
        reward_funcs=ledger.functions(),
        processing_class=tokenizer,
    )
