"""Is there anything for GRPO to learn from? Pass rates of its prompts under the model that it would start from.

A group teaches by its differences alone: prompts that the model always or never answers right cost generation and give
no gradient. The scan samples k answers to each prompt, and says what share of groups would be dead, and what to change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from eval.engines.base import Sampling
from eval.files import read_json, write_json
from eval.manifest import AnotherEvaluation
from eval.records import RECORDS, Record, by_example, read_records
from eval.runner import evaluate
from eval.shown import percent
from eval.tables import Grid
from eval.validity import Limits
from rewards.core import Example, ExitCode, UserError
from tasks.base import Task
from toolkit.config import DataConfig, GrpoConfig, Recipe
from toolkit.data import read_examples
from toolkit.dead_groups import dead_shares
from toolkit.rundir import Run, set_scan_aside
from toolkit.stages import model_of, task_of
from toolkit.training.rollouts import weighted_rewards

REPORT = "report.json"
STAGE_SAMPLES = 4  # of every prompt of data.grpo, when a run scans by itself
GROUP_SIZES = (4, 8, 16, 32)
BINS = 10
FEW_DEAD, MANY_DEAD = 0.3, 0.6  # shares of dead groups: fine below the first, little left to learn from above the other
EASY, HARD = 0.8, 0.2  # mean pass rates outside of which GRPO starts badly


@dataclass(frozen=True, slots=True)
class Scan:
    """What a scan found. dead: share of groups without different rewards, by group size. rates: pass rate by prompt;
    one with an engine's error has none. weights: of the rewards; dead groups hang on them.

    histogram: prompts by pass rate in BINS bins, and before and after them those that never and always pass.
    """

    prompts: int
    samples: int
    temperature: float
    pass_rate: float
    dead: dict[str, float]
    histogram: list[int]
    advice: list[str]
    rates: dict[str, float]
    weights: dict[str, float]


def scan(run: Run, prompts: int, samples: int, temperature: float | None, engine: str | None) -> Scan:
    """Sample, score and judge; leave scan/report.json beside the records in the run directory.

    The directory keeps one scan. One of other numbers takes its place, and the old one is set aside.
    Raises UserError when GRPO has begun with the stored one's prompts; with exit code 13 when the engine failed on
    more than eval.max_failed of the completions.
    """
    recipe, config = run.recipe, grpo_of(run.recipe)
    assert isinstance(recipe.data, DataConfig)  # Recipe refuses GRPO without a task
    examples = read_examples(run.dir / "data" / "grpo.jsonl")[:prompts]
    heat = config.temperature if temperature is None else temperature
    folder = run.dir / "scan"
    task = task_of(recipe)
    ask = partial(
        evaluate,
        task,
        examples,
        split="train",
        seed=recipe.seed,
        model=model_of(run, "base" if recipe.sft is None else "sft"),  # what GRPO would begin with
        engine=engine or recipe.eval.engine,
        sampling=Sampling(config.max_completion_length, temperature=heat, n=samples, seed=None),  # rates are estimates
        out_dir=folder,
        start=recipe.data.sft,  # the stage `data` lets GRPO's prompts follow those of SFT
        options=recipe.eval.options,
        limits=Limits(truncated=1, failed=recipe.eval.max_failed),  # a cut completion is worth 0 to GRPO as well
    )
    try:
        summary = ask()
    except AnotherEvaluation as error:
        if run.has_begun("grpo"):
            begun = "GRPO has begun with the prompts of its scan; scan in another run (--set output=…)"
            raise UserError(f"{run.dir}: {begun}") from error
        set_scan_aside(run)
        summary = ask()
    if summary.invalid:
        raise UserError(f"{folder}: no scan, {'; '.join(summary.invalid)} (eval.max_failed)", ExitCode.INVALID)
    found = judge(read_records(folder / RECORDS), weights_of(task, recipe), config, heat, recipe.launch.processes)
    write_json(folder / REPORT, asdict(found))
    return found


def weights_of(task: Task, recipe: Recipe) -> dict[str, float]:
    """What each reward of a recipe's task counts. Raises UserError, as `weighted_rewards` does."""
    return {name: weight for name, (_, weight) in weighted_rewards(task, recipe.rewards).items()}


def grpo_of(recipe: Recipe) -> GrpoConfig:
    """The section that a scan is for. Raises UserError without one."""
    if recipe.grpo is None:
        raise UserError("the recipe has no section grpo: there is nothing to scan for")
    return recipe.grpo


def judge(
    records: Iterable[Record],
    weights: Mapping[str, float],
    config: GrpoConfig,
    temperature: float,
    processes: int = 1,
) -> Scan:
    """The figures of scored samples under the rewards' weights. Raises UserError where each prompt has an error."""
    asked = by_example(records)
    # What the engine failed on says nothing of the model, and a prompt with fewer samples nothing of its groups.
    answered = {key: some for key, some in asked.items() if all(each.status != "error" for each in some)}
    if not answered:
        raise UserError("no prompt has all its answers: the records' `problem` says why; scan again", ExitCode.INVALID)
    rates = {key: sum(each.score == 1 for each in some) / len(some) for key, some in answered.items()}
    outcomes = [[_reward(each, weights) for each in some] for some in answered.values()]
    sizes = sorted({*GROUP_SIZES, config.generations})
    dead = dead_shares(outcomes, sizes)
    mean = sum(rates.values()) / len(rates)
    return Scan(
        prompts=len(asked),
        samples=len(outcomes[0]),
        temperature=temperature,
        pass_rate=mean,
        dead={str(size): round(share, 6) for size, share in dead.items()},
        histogram=histogram(list(rates.values())),
        advice=advise(mean, dead, config.generations, list(rates.values()), processes),
        rates=rates,
        weights=dict(weights),
    )


def _reward(record: Record, weights: Mapping[str, float]) -> float:
    """Rounded, so that sums in other orders are the same reward."""
    return round(sum(weights[name] * value for name, value in record.rewards.items()), 6)


def histogram(rates: Sequence[float]) -> list[int]:
    """Counts of: never right, BINS equal bins of the rates in between, always right."""
    counts = [0] * (BINS + 2)
    for rate in rates:
        place = 0 if rate == 0 else BINS + 1 if rate == 1 else 1 + min(BINS - 1, int(rate * BINS))
        counts[place] += 1
    return counts


def advise(mean: float, dead: Mapping[int, float], size: int, rates: Sequence[float], processes: int = 1) -> list[str]:
    """What to do, in plain words. processes: that train together; oversampling works in one only."""
    share = dead[size]
    never, always = (sum(rate == end for rate in rates) / len(rates) for end in (0.0, 1.0))
    said = []
    if mean < HARD:
        said.append(f"too hard: {percent(mean, 0)} of the answers are right; train longer with sft before GRPO")
    elif mean > EASY:
        said.append(
            f"too easy: {percent(mean, 0)} of the answers are right; keep harder prompts (grpo.scan: [0.1, 0.9])"
        )
    else:
        said.append(f"fine: {percent(mean, 0)} of the answers are right")
    better = next((each for each in sorted(dead) if dead[each] <= FEW_DEAD), None)
    if share > FEW_DEAD:
        if better is not None and better > size:
            fewer = percent(dead[better], 0)
            said.append(f"with {size} generations {percent(share, 0)} of the groups are dead, with {better} {fewer}")
        live = 1 - share
        if all(rate in (0.0, 1.0) for rate in rates):  # nothing that grpo.scan could keep
            said.append(
                f"{percent(share, 0)} of the groups are dead, and no prompt passes now and then: take other prompts"
            )
        elif live > 1 - MANY_DEAD and processes == 1:
            said.append(f"grpo.oversample: {min(8.0, 1 / live):.1f} fills a step with groups that differ")
        else:
            said.append(f"{percent(share, 0)} of the groups are dead: choose prompts with grpo.scan: [0.05, 0.95]")
        if always > never and always > FEW_DEAD:
            said.append("a temperature above 1 (1.2) brings differences to prompts that always pass")
    elif better is not None and better < size:
        said.append(f"{better} generations would do: {percent(dead[better], 0)} of such groups are dead")
    return said


def stored_scan(run: Run) -> dict[str, Any] | None:
    """The fields of the run's Scan, or None before there is one."""
    path = run.dir / "scan" / REPORT
    keys = ("prompts", "samples", "temperature", "pass_rate", "dead", "advice", "rates")
    return read_json(path, "scan again: toolkit scan CONFIG", keys) if path.is_file() else None


def scan_stage(run: Run, say: Callable[[str], None]) -> dict[str, Any]:
    """The stage of a run: the scan that a person made where it tells as much as the run's own would, else that."""
    recipe = run.recipe
    assert recipe.grpo is not None
    assert isinstance(recipe.data, DataConfig)
    prompts, heat = recipe.data.grpo, recipe.grpo.temperature
    found = stored_scan(run)
    if found is not None and not run.has_begun("grpo"):  # else its prompts are being trained on
        enough = found["prompts"] >= prompts and found["samples"] >= STAGE_SAMPLES
        if not enough or found["temperature"] != heat:
            say(
                f"scan: anew, the stored one has {found['prompts']} prompts, {found['samples']} samples each, at "
                f"temperature {found['temperature']:g}; GRPO goes by {prompts}, {STAGE_SAMPLES} or more, at {heat:g}"
            )
            found = None
    if found is None:
        found = asdict(scan(run, prompts, STAGE_SAMPLES, None, None))
    return {name: found[name] for name in ("prompts", "samples", "pass_rate")}


def pass_rates(run: Run) -> dict[str, float] | None:
    """By prompt, what the stored scan found; None before there is one."""
    found = stored_scan(run)
    return None if found is None else found["rates"]


def is_within(rate: float, bounds: tuple[float, float]) -> bool:
    """Whether grpo.scan keeps a prompt of that pass rate."""
    return bounds[0] <= rate <= bounds[1]


def within(run: Run, examples: Sequence[Example], bounds: tuple[float, float]) -> list[Example]:
    """The examples whose pass rate in the stored scan is within the bounds. Raises UserError without a scan."""
    if (rates := pass_rates(run)) is None:
        raise UserError(f"grpo.scan: {run.dir} has no scan; first: toolkit scan CONFIG")
    kept = [each for each in examples if is_within(rates.get(each.id, -1), bounds)]
    config = run.recipe.grpo
    assert config is not None
    if len(kept) < (needed := config.prompts + config.extra_prompts):
        more = f", or scan more: toolkit scan CONFIG --prompts {len(examples)}" if len(examples) > len(rates) else ""
        raise UserError(
            f"grpo.scan {list(bounds)}: {len(kept)} of {len(rates)} scanned prompts are within, a step needs {needed}"
            f"{' (grpo.oversample)' * (needed > config.prompts)}; widen it{more}"
        )
    return kept


def scan_grid(found: Scan, stored: Path) -> Grid:
    """The scan as a table: prompts by pass rate, then dead groups and advice as lines below."""
    names = ["0", *(f"{low / BINS:.1f}-{(low + 1) / BINS:.1f}" for low in range(BINS)), "1"]
    rows = [
        (name, str(count), "#" * round(40 * count / max(found.histogram)))
        for name, count in zip(names, found.histogram, strict=True)
    ]
    dead = ", ".join(f"{percent(share, 0)} of {size}" for size, share in found.dead.items())
    title = f"{found.prompts} prompts, {found.samples} samples each at temperature {found.temperature:g}"
    return Grid(title, ("pass rate", "prompts", ""), tuple(rows), (f"dead groups: {dead}", *found.advice, f"{stored}"))
