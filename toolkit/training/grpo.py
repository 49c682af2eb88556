"""The GRPO stage: the model samples answers to each prompt, and learns from how they score against each other."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TextIO

import torch

from eval.prompts import render_prompts, template_hash
from rewards.core import Example, UserError
from toolkit.config import GrpoConfig, Recipe
from toolkit.config.sections import CLIP
from toolkit.data import read_examples
from toolkit.doctor.sizes import size_of_directory
from toolkit.models import ResolvedModel, resolve_model
from toolkit.planning.fits import grpo_batch
from toolkit.planning.machine import device
from toolkit.planning.memory import LEAST_SEQUENCES, MOST_SEQUENCES, engine_share
from toolkit.rundir import Run
from toolkit.scan import within
from toolkit.stages import task_of
from toolkit.templates import use_template
from toolkit.training.backends import ends_of, start_of, training_backend
from toolkit.training.processes import gathered
from toolkit.training.rollouts import RewardLedger, weighted_rewards
from toolkit.training.scoring import IsolatedRewards

SOME = 256  # prompts that the estimate of memory is made from


def run_grpo(run: Run, terminal: TextIO) -> dict[str, Any]:
    """Train on from what SFT left (or from the base), leave grpo/adapter or grpo/weights, and return figures worth
    keeping.
    """
    recipe = run.recipe
    config = recipe.grpo
    assert config is not None  # toolkit.stages runs only the stages that a recipe has
    if config.vllm and not torch.cuda.is_available():
        raise UserError("grpo.vllm needs a CUDA GPU; set it to false")
    stage_dir = run.dir / "grpo"
    stage_dir.mkdir(exist_ok=True)
    resolved = start_of(recipe, run.dir, "grpo", resolve_model(recipe.model.reference))
    if config.vllm_sleep:
        os.environ.setdefault("UNSLOTH_VLLM_STANDBY", "1")  # read when unsloth is imported
    backend = training_backend(recipe.model.backend)

    # After the backend: unsloth patches these on import.
    from toolkit.training.common import save_trained, train
    from toolkit.training.heldout import held_out
    from toolkit.training.oom import refuse_before_loading, smaller_on_oom

    prompts = read_examples(run.dir / "data" / "grpo.jsonl")
    refuse_before_loading(run, "grpo", resolved, _some_lengths(recipe, resolved, prompts))
    batch = grpo_batch(run.dir, config, recipe.launch.processes, device().name)
    if batch.source == "out of memory":
        print(f"grpo: batch_size {batch.value} from plan.json: {batch.why}", file=terminal, flush=True)
    config = config.model_copy(update={"batch_size": batch.value})
    share = _share(run, resolved.path) if config.vllm else None
    model, tokenizer = backend.load(recipe.model, resolved, recipe.lora, recipe.seed, share)
    use_template(tokenizer, recipe.model.chat_template)
    if config.scan is not None:
        total = len(prompts)
        prompts = within(run, prompts, config.scan)
        print(f"grpo: {len(prompts)} of {total} prompts are within grpo.scan", file=terminal, flush=True)
    with _ledger(run, config, prompts) as (ledger, counted):
        trainer = make_trainer(run, config, model, tokenizer, ledger)
        with smaller_on_oom(run, "grpo", batch):
            outcome = train(trainer, "grpo", stage_dir, terminal, held_out(run, "grpo", trainer, tokenizer, terminal))
    save_trained(model, tokenizer, stage_dir, recipe, trainer)
    figures = {"steps": trainer.state.global_step, "rollouts": ledger.rollouts}
    broken = sum(gathered([counted]), Counter[str]())
    kept = {"broken_rewards": dict(broken)} if broken else {}
    return {**figures, **kept, **outcome, "template": template_hash(tokenizer)}


def _some_lengths(recipe: Recipe, resolved: ResolvedModel, prompts: Sequence[Example]) -> list[int]:
    """Tokens of some prompts, under the tokenizer that the stage begins with."""
    from toolkit.conversations.preparing import tokenizer_for

    plain = tokenizer_for(resolved.adapter or resolved.path, recipe.model.chat_template)
    return [len(ids) for ids in render_prompts(plain, [each.messages for each in prompts[:SOME]])]


@contextmanager
def _ledger(run: Run, config: GrpoConfig, prompts: Sequence[Example]) -> Iterator[tuple[RewardLedger, Counter[str]]]:
    """What scores rollouts, and how often each reward broke here. The rewards' process ends with the block."""
    recipe, folder = run.recipe, run.dir / "grpo"
    rewards = weighted_rewards(task_of(recipe), recipe.rewards)
    assert recipe.task is not None  # a recipe without one has no GRPO
    examples, broken = run.dir / "data" / "grpo.jsonl", folder / "broken_rewards.jsonl"
    with closing(IsolatedRewards(recipe.task, examples, tuple(rewards), broken, config.reward_timeout)) as isolated:
        by_id = {example.id: example for example in prompts}
        yield RewardLedger(by_id, rewards, folder / "rollouts.jsonl", isolated), isolated.broken


def make_trainer(run: Run, config: GrpoConfig, model: Any, tokenizer: Any, ledger: RewardLedger) -> Any:
    """TRL's trainer, or ours on it, for the ledger's examples; the ledger scores and keeps rollouts.

    What ends an answer in an evaluation ends it here, whoever generates: TRL itself knows the tokenizer's end token
    and the model's own, and vLLM those of the directory that it loads, which a chat template may disagree with.
    """
    from datasets import Dataset
    from trl import GRPOTrainer

    from toolkit.training.fast import compile_layers, grpo_path, narrow_stream
    from toolkit.training.grpo_trainer import FastGrpoTrainer
    from toolkit.training.packing import base_of, register_packed_attention

    base = base_of(model)
    path = grpo_path(base, run.recipe.model.backend, config)
    if path.packed:
        register_packed_attention()
        narrow_stream(base)
    if path.compiled:
        compile_layers(base)
    if config.vllm and run.recipe.model.backend == "transformers":
        tune_engine(run.recipe.model.dtype)
    ends = ends_of(run.recipe, tokenizer)
    model.generation_config.eos_token_id = list(ends)
    rows = [{"prompt": list(example.messages), "example_id": example.id} for example in ledger.examples.values()]
    shared = {
        "model": model,
        "args": _arguments(run, config, ledger, _share(run, Path(base.name_or_path)), ends),
        "train_dataset": Dataset.from_list(rows),
        "reward_funcs": ledger.functions(ends),
        "processing_class": tokenizer,
    }
    if not path.packed and not config.extra_prompts:
        return GRPOTrainer(**shared)
    longest = run.recipe.model.max_length
    return FastGrpoTrainer(packed=path.packed, longest=longest, extra_prompts=config.extra_prompts, **shared)


def _share(run: Run, weights: Path) -> float:
    """Of the GPU's memory, for the vLLM that generates with the weights in this directory."""
    return engine_share(run.recipe, size_of_directory(weights), device().total)


def _arguments(run: Run, config: GrpoConfig, ledger: RewardLedger, share: float, ends: Sequence[int]) -> Any:
    from trl import GRPOConfig as TrlGrpoConfig

    from toolkit.training.common import shared_arguments

    processes = run.recipe.launch.processes
    batch = config.forward_batch(processes)
    return TrlGrpoConfig(
        **shared_arguments(run.dir / "grpo", config.save_steps, config.learning_rate, config.warmup, run.recipe.seed),
        per_device_train_batch_size=batch,
        gradient_accumulation_steps=config.prompts * config.generations // processes // batch,
        max_steps=config.steps,
        num_generations=config.generations,
        max_completion_length=config.max_completion_length,
        temperature=config.temperature,
        top_p=1.0,
        beta=config.beta,
        loss_type=config.loss_type,
        epsilon=CLIP[0],
        epsilon_high=CLIP[1],
        mask_truncated_completions=False,  # a cut completion scores 0 and should be unlearned
        reward_weights=list(ledger.weights),
        use_vllm=bool(config.vllm),
        vllm_mode="server" if config.vllm == "server" else "colocate",
        vllm_server_base_url=config.vllm_server,
        vllm_gpu_memory_utilization=share,
        vllm_max_model_length=run.recipe.model.max_length,
        vllm_enable_sleep_mode=config.vllm_sleep,
        generation_kwargs=_sampling(config, run.recipe.model.backend, ends),
        remove_unused_columns=False,
    )


def _sampling(config: GrpoConfig, backend: str, ends: Sequence[int]) -> dict[str, Any] | None:
    """What vLLM is told beside what TRL tells it; None where transformers generates."""
    if not config.vllm:
        return None
    # Ids are all that the trainer reads; as text they would cost the engine's process more than the model's step.
    ids_only = {"detokenize": False} if config.vllm is True and backend != "unsloth" else {}
    return {"stop_token_ids": list(ends), **ids_only}


def tune_engine(dtype: str) -> None:
    """Give TRL's vLLM engine what TRL leaves out. Call it before the trainer is built.

    Its own 4,096 tokens a scheduling step make a batch of prompts wait in line; the graphs that decoding replays are
    kept, and vLLM's minute of compiling, which gains little on a small model, is not.
    """
    from trl.generation import vllm_generation

    original = vllm_generation.LLM
    if getattr(original, "tuned", False):
        return

    def tuned(**arguments: Any) -> Any:
        return original(**{**arguments, **engine_arguments(dtype, arguments)})

    tuned.tuned = True  # type: ignore[attr-defined]
    vllm_generation.LLM = tuned


def engine_arguments(dtype: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What differs from TRL's arguments of vllm.LLM."""
    sequences = min(MOST_SEQUENCES, max(LEAST_SEQUENCES, arguments.get("max_num_seqs") or 0))
    return {
        "dtype": "bfloat16" if dtype == "auto" else dtype,
        "max_num_batched_tokens": 16_384,
        "max_num_seqs": sequences,
        "enable_prefix_caching": True,
        # A graph for as many sequences as there are: a step without one takes three times as long.
        "compilation_config": {
            "mode": 0,
            "cudagraph_mode": "FULL_DECODE_ONLY",
            "max_cudagraph_capture_size": sequences,
        },
        "disable_log_stats": True,
    }
