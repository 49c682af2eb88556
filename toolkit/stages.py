"""The stages of a run, in order: what each needs, what it leaves. Imports no trainer; those run in their own process.

A stage is done when its file under stages/ says so, and not that an engine failed or that nothing could be compared;
what an unfinished one left behind is either resumed (a trainer's checkpoints, an evaluation's records) or replaced.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from eval.engines.base import ModelSpec
from eval.files import read_json, whole_directory
from eval.gpus import gpus
from eval.records import RECORDS
from eval.summary import SUMMARY, read_summary
from rewards.core import ExitCode, UserError
from tasks.base import Task
from tasks.registry import load_task
from toolkit.config import ConversationsConfig, Recipe
from toolkit.data import file_hash, read_examples
from toolkit.data_stage import data_stage, look_again, refuse_changed
from toolkit.doctor.needs import model_size
from toolkit.models import cache_dir, resolve_model
from toolkit.planning.fits import after_oom_kill, oom_kills, refuse_unfit
from toolkit.planning.machine import device
from toolkit.planning.rates import probe_pays, remember
from toolkit.rundir import Run, timed
from toolkit.templates import template_text
from toolkit.training.backends import refuse_other_adapter, trained_dir
from toolkit.training.launch import (
    SEVERAL,
    command_of,
    first_to_end,
    launch_lines,
    launch_log,
    launched,
    processes_of,
    wait_for,
    was_killed,
    worker_environment,
)

TRAINING = ("sft", "merge-sft", "grpo", "merge")
MERGES = ("merge-sft", "merge")
OF_RESULTS = (*MERGES, "compare")  # stages that go by what others left, not by the data or the task
COMPARED = ("eval-base", "eval-tuned")
EVALUATIONS = (*COMPARED, "eval-sft")

# What the training process is started with, unless the environment says otherwise.
TRAINING_ENV = {
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
    # Where unsloth writes the trainers that it generates; by default, a folder in the working directory.
    "UNSLOTH_COMPILE_LOCATION": str(cache_dir() / "unsloth_compiled"),
    # glibc gives big blocks back to the kernel at every free, and the kernel zeroes them again at every step.
    "MALLOC_MMAP_THRESHOLD_": "8589934592",
    "MALLOC_TRIM_THRESHOLD_": "8589934592",
    # Threads that spin while they wait make a step six times slower as soon as another process wants a core.
    "OMP_WAIT_POLICY": "PASSIVE",
}


def stages_of(recipe: Recipe) -> list[str]:
    """The stages of a recipe, in order."""
    trained = [name for name in ("sft", "grpo") if getattr(recipe, name) is not None]
    if not trained:
        raise UserError("the recipe trains nothing: give it a section sft or grpo")
    if isinstance(recipe.data, ConversationsConfig):  # no reward, so nothing to evaluate and compare
        return ["data", *trained, "merge"]
    if trained == ["sft", "grpo"]:  # what GRPO adds shows only beside the warm start
        trained = ["sft", "merge-sft", "eval-sft", "grpo"]
    if recipe.grpo is not None and recipe.grpo.scan is not None:
        trained.insert(-1, "scan")
    return ["data", "eval-base", *trained, "merge", "eval-tuned", "compare"]


def task_of(recipe: Recipe) -> Task:
    """The task of a recipe that has one."""
    assert recipe.task is not None  # Recipe refuses data of a task without it
    return load_task(recipe.task)


def last_stage_dir(run: Run) -> Path:
    """The directory of the last training stage."""
    return run.dir / ("sft" if run.recipe.grpo is None else "grpo")


def last_adapter(run: Run) -> Path:
    """The adapter that the last training stage left, where it trains one."""
    return last_stage_dir(run) / "adapter"


def trained_model(run: Run) -> ModelSpec:
    """What the last training stage left: an adapter on its base, or all weights. Raises UserError before that."""
    full = run.recipe.model.tuning == "full"
    trained = trained_dir(last_stage_dir(run), run.recipe.model.tuning)
    if not (trained / ("config.json" if full else "adapter_model.safetensors")).is_file():
        what = "trained weights" if full else "trained adapter"
        raise UserError(f"{run.dir}: this run has no {what} yet ({trained}); finish it with toolkit run")
    if full:
        return ModelSpec(trained, None, "trained")
    return ModelSpec(resolve_model(run.recipe.model.reference).path, trained, "trained")


def model_of(run: Run, name: str) -> ModelSpec:
    """What an evaluation of the run's asks: base (under the recipe's template), sft or tuned."""
    if name != "base":
        return ModelSpec(run.dir / "sft" / "model" if name == "sft" else run.dir / "model", None, name)
    config = run.recipe.model
    template = config.chat_template and template_text(config.chat_template)
    resolved = resolve_model(config.reference)
    return ModelSpec(resolved.path, resolved.adapter, name, template)


def ensure(run: Run, stage: str, say: Callable[[str], None]) -> None:
    """Do the stage unless it is done. `say` gets a line when it begins and when it ends.

    One that has ended is done again where that may mend it: an evaluation asks what its engine failed on, no more.
    Raises UserError where files that the data were read from have changed since, once something depends on the data.
    """
    if stage == "data":
        look_again(run, say)
    done = run.is_done(stage)
    if done and (again := _again(run, stage)) is None:
        say(f"{stage}: done before")
        return
    if stage not in OF_RESULTS:
        refuse_changed(run, stage)
    if stage == "sft" and probe_pays(run):
        run_probe(run, say)
    if stage in COMPARED:
        run.forget("compare")
    say(f"{stage}: again, {again}" if done else f"{stage}: …")
    with timed() as seconds:
        if stage in MERGES and run.recipe.model.tuning == "full":
            facts = _copy_weights(run, stage)
        elif stage == "scan":
            facts = _scan(run, say)
        else:
            facts = _in_own_process(run, stage, say) if stage in TRAINING else _STAGES[stage](run)
    run.finish(stage, seconds[0], **facts)
    remember(run, stage, seconds[0], facts)
    shown = "".join(f", {key} {_short(value)}" for key, value in facts.items() if not isinstance(value, dict))
    say(f"{stage}: {seconds[0]:.0f} s{shown}")


def _again(run: Run, stage: str) -> str | None:
    """Why a stage that has ended is to be done again; None where nothing would change."""
    summary = run.dir / "eval" / stage.removeprefix("eval-") / SUMMARY
    if stage in EVALUATIONS and summary.is_file():
        errors = read_summary(summary.parent).overall.statuses["error"]
        return f"the engine failed on {errors} of its answers" if errors else None
    facts = run.facts(stage)
    if "of" in facts and facts["of"] != _compared(run):  # of a comparison, since it is kept
        return "another evaluation stands in the place of one of the two"
    return "the two were not comparable" if facts.get("verdict") == "not comparable" else None


def _compared(run: Run) -> dict[str, str]:
    """Hashes of what a comparison reads: `toolkit rescore` may have left other scores there since."""
    records = {name: run.dir / "eval" / name / RECORDS for name in ("base", "tuned")}
    return {name: file_hash(path) for name, path in records.items() if path.is_file()}


def run_probe(run: Run, say: Callable[[str], None]) -> None:
    """Measure SFT's passes in a process of their own; the best is kept in plan.json. A failure changes nothing."""
    say("probe: …")
    try:
        facts = _in_own_process(run, "probe", say)
    except UserError as error:
        say(f"probe failed, and what fits into the memory is taken. {error}")
        return
    say(f"probe: forward_tokens {facts['forward_tokens']}, {facts['tokens_per_second']:,.0f} tokens/s")


def refuse_what_cannot_run(run: Run, stages: Sequence[str]) -> None:
    """Raise UserError when a training among the stages to do can't be here: said before hours of stages before it."""
    to_do = [stage for stage in stages if stage in SEVERAL and not run.is_done(stage)]
    if not to_do:
        return
    reference = run.recipe.model.reference
    if Path(reference).expanduser().is_dir():  # of what isn't here yet the preflight says it
        refuse_other_adapter(run.recipe, resolve_model(reference))
    size, here = model_size(reference)[0], device()
    for stage in to_do:
        refuse_unfit(run.recipe, stage, size, here)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _evaluation(name: str) -> Callable[[Run], dict[str, Any]]:
    def evaluate_stage(run: Run) -> dict[str, Any]:
        from eval.cache import CACHE
        from eval.engines.base import Sampling
        from eval.runner import evaluate
        from eval.validity import Limits

        recipe = run.recipe
        summary = evaluate(
            task_of(recipe),
            read_examples(run.dir / "data" / "test.jsonl"),
            split="test",
            seed=recipe.seed,
            model=model_of(run, name),
            engine=recipe.eval.engine,
            sampling=Sampling(max_tokens=recipe.eval.max_tokens, seed=recipe.seed),
            out_dir=run.dir / "eval" / name,
            options=recipe.eval.options,
            limits=Limits(truncated=recipe.eval.max_truncated, failed=recipe.eval.max_failed),
            cache=cache_dir() / CACHE,
            # the recipe's template is the run's own choice, whatever the base was made for
            any_template=name == "base",
        )
        return {"exact": summary.overall.exact.value, "format": summary.overall.format.value}

    return evaluate_stage


def _scan(run: Run, say: Callable[[str], None]) -> dict[str, Any]:
    from toolkit.scan import scan_stage

    return scan_stage(run, say)


def _compare(run: Run) -> dict[str, Any]:
    from eval.compare import compare

    result = compare(run.dir / "eval" / "base", run.dir / "eval" / "tuned", out_dir=run.dir)
    return {"verdict": result.verdict, "p": result.p, "exit_code": result.exit_code, "of": _compared(run)}


def _copy_weights(run: Run, stage: str) -> dict[str, Any]:
    """Where all weights were trained there is nothing to add to a base: they are the model, and it takes no torch."""
    warm_start = stage == "merge-sft"
    weights = trained_dir(run.dir / "sft" if warm_start else last_stage_dir(run), "full")
    with whole_directory(run.dir / "sft" / "model" if warm_start else run.dir / "model") as folder:
        shutil.copytree(weights, folder, dirs_exist_ok=True)
    return {"from": str(weights.relative_to(run.dir))}


_STAGES: dict[str, Callable[[Run], dict[str, Any]]] = {
    "data": data_stage,
    "eval-base": _evaluation("base"),
    "eval-sft": _evaluation("sft"),
    "eval-tuned": _evaluation("tuned"),
    "compare": _compare,
}


def _in_own_process(run: Run, stage: str, say: Callable[[str], None]) -> dict[str, Any]:
    """A training stage in a process of its own: unsloth patches libraries globally, and memory is freed at the end.

    The preflight comes first, here, so that nothing is started in vain. What runs out of memory is started once more,
    in smaller passes. With launch.processes above 1 the process is accelerate's, which starts those that train.
    """
    from toolkit.training.preflight import preflight

    if stage in SEVERAL:
        preflight(run, stage, say)
    (run.dir / "logs").mkdir(exist_ok=True)
    while (again := (facts := _process(run, stage, say)).get("again")) is not None:
        say(f"{stage}: {again}")
    return facts


def _process(run: Run, stage: str, say: Callable[[str], None]) -> dict[str, Any]:
    """What one process of the stage left; {"again": why} of one to be started once more."""
    result = run.dir / "logs" / f"{stage}.json"
    result.unlink(missing_ok=True)
    several = processes_of(run.recipe, stage) > 1
    root = str(Path(__file__).resolve().parents[1])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    environment = {**TRAINING_ENV, **os.environ, "PYTHONPATH": path}
    kills = oom_kills()
    if several:
        for line in launch_lines(run, stage):
            say(line)
        status = launched(run, stage, {**environment, **worker_environment()})
    else:
        if len(found := gpus()) > 1:  # the trainer takes all that it sees (DataParallel): slow, and refused by TRL
            environment["CUDA_VISIBLE_DEVICES"] = found[0]
        status = wait_for(subprocess.Popen(command_of(run, stage), env=environment))
    facts = read_json(result, "run the stage again") if result.is_file() else {}
    # the count is of the whole machine: a stage that ended otherwise wasn't among them
    if not facts and oom_kills() > kills and was_killed(status, launch_log(run, stage) if several else None):
        facts = after_oom_kill(run.dir, stage)
    if "again" in facts or (status == 0 and facts and "failed" not in facts):
        return facts
    how = first_to_end(launch_log(run, stage)) if several else f"its process ended with status {status}"
    on = f"{how}; run the same command again to go on from the last checkpoint"
    status = facts.get("status", status)
    code = status if status in (ExitCode.USAGE, ExitCode.FAILED) else ExitCode.FAILED
    raise UserError(f"{stage}: {facts.get('failed', on)} (its log: {result.with_suffix('.log')})", code)
