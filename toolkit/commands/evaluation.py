"""toolkit eval, compare, predict: what a model answers, and whether it is better."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from eval.validity import MAX_FAILED, MAX_TRUNCATED
from rewards.core import UserError
from toolkit.commands.shared import ModelRef, Seed, SplitName, TaskRef, checked_split

app = typer.Typer()


@app.command("eval")
def evaluate_model(
    model: ModelRef,
    task: TaskRef,
    out: Annotated[Path, typer.Option(help="directory for records, summary and manifest")],
    split: SplitName = "test",
    n: Annotated[int, typer.Option(min=1, help="number of examples")] = 200,
    seed: Seed = 0,
    engine: Annotated[str, typer.Option(help="vllm, server, transformers, scripted, or peer:NAME")] = "vllm",
    max_tokens: Annotated[int, typer.Option(min=1, help="new tokens; longer completions count as truncated")] = 256,
    temperature: Annotated[float, typer.Option(min=0, help="0 is greedy")] = 0.0,
    samples: Annotated[int, typer.Option(min=1, help="completions of each prompt; needs a temperature")] = 1,
    option: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="an option of the engine")] = None,
    served_name: Annotated[str | None, typer.Option(help="engine server: the model's name there, if not MODEL")] = None,
    max_truncated: Annotated[float, typer.Option(min=0, max=1, help="largest valid share, 1 for any")] = MAX_TRUNCATED,
    max_failed: Annotated[float, typer.Option(min=0, max=1, help="the same of engine errors")] = MAX_FAILED,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="don't take or keep completions in the cache")] = False,
) -> None:
    """Score a model on a task and print the table. Interrupted, the same command goes on. Exits with 13 if invalid."""
    from eval.cache import CACHE
    from eval.engines.base import Sampling
    from eval.engines.registry import check_engine
    from eval.runner import evaluate
    from eval.tables import show, summary_grid
    from eval.validity import INVALID, Limits
    from tasks.registry import load_task
    from toolkit.models import cache_dir

    check_engine(engine)
    if samples > 1 and temperature == 0:
        raise UserError("--samples above 1 needs --temperature above 0: greedy samples are all the same")
    chosen = load_task(task)
    summary = evaluate(
        chosen,
        list(chosen.examples(checked_split(split), n, seed)),
        split=split,
        seed=seed,
        model=_model_spec(model, engine, served_name),
        engine=engine,
        sampling=Sampling(max_tokens=max_tokens, temperature=temperature, n=samples, seed=seed),
        out_dir=out,
        options=_options(option or []),
        limits=Limits(truncated=max_truncated, failed=max_failed),
        cache=None if no_cache else cache_dir() / CACHE,
    )
    show(summary_grid(summary))
    if summary.invalid:
        raise typer.Exit(INVALID)


@app.command()
def compare(
    base: Annotated[Path, typer.Argument(help="evaluation directory of the base")],
    candidate: Annotated[Path, typer.Argument(help="evaluation directory of the candidate")],
    margin: Annotated[float, typer.Option(min=0, max=1, help="a difference within this counts as equal")] = 0.02,
    alpha: Annotated[float, typer.Option(min=0.0001, max=0.5, help="significance level")] = 0.05,
    out: Annotated[Path | None, typer.Option(help="directory for comparison.json")] = None,
    noise: Annotated[Path | None, typer.Option(help="noise floor: a file that `toolkit noise` wrote")] = None,
) -> None:
    """Is the candidate better? Exits with 0 better or equal, 10 worse, 11 can't tell, 12 not comparable."""
    from eval.compare import compare as compare_dirs
    from eval.tables import comparison_grid, show

    result = compare_dirs(base, candidate, alpha=alpha, margin=margin, noise=noise, out_dir=out)
    show(comparison_grid(result))
    raise typer.Exit(result.exit_code)


@app.command()
def predict(
    text: Annotated[str, typer.Argument(help="what the person said")],
    model: ModelRef,
    now: Annotated[str, typer.Option(help="the reference moment, ISO: 2025-01-17 or 2025-01-17T10:30")],
    task: Annotated[str | None, typer.Option(help="default: the task that the model was trained on")] = None,
    max_tokens: Annotated[int, typer.Option(min=1)] = 256,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """Ask a model one question; print its reasoning and its answer."""
    from toolkit.predict import predict_one, print_prediction

    print_prediction(predict_one(text, model, now, task, max_tokens), as_json)


def _model_spec(reference: str, engine: str, served_name: str | None) -> Any:
    from eval.engines.base import ModelSpec
    from eval.engines.registry import WITHOUT_TOKENIZER

    if engine in WITHOUT_TOKENIZER:  # takes a text, or a file of completions
        return ModelSpec(Path(reference), None, reference)
    from toolkit.models import resolve_model

    resolved = resolve_model(reference)
    return ModelSpec(resolved.path, resolved.adapter, served_name or reference)


def _options(pairs: list[str]) -> dict[str, Any]:
    import yaml

    from toolkit.config import yaml_problem

    options = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise UserError(f"--option {pair!r}: write KEY=VALUE, for instance --option dtype=float32")
        try:
            options[key] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise UserError(f"--option {pair!r}: the value isn't YAML: {yaml_problem(error)}") from error
    return options
