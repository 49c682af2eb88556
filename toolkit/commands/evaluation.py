"""toolkit eval, compare: what a model answers, and whether it is better."""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from eval.validity import MAX_FAILED, MAX_TRUNCATED
from rewards.core import ExitCode, UserError
from toolkit.commands.shared import (
    Json,
    Seed,
    SplitName,
    TaskRef,
    checked_split,
    engine_options,
    note_fewer,
    print_json,
    say,
)

ModelRefs = Annotated[
    list[str],
    typer.Option(
        "--model", help="hub id, directory (model, adapter or run), .gguf file, or package:NAME; several: NAME=…"
    ),
]

app = typer.Typer()


@app.command("eval")
def evaluate_model(
    model: ModelRefs,
    task: TaskRef,
    out: Annotated[
        Path, typer.Option(help="directory for records, summary and manifest; of several models, for theirs")
    ],
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
    shuffle: Annotated[int | None, typer.Option(help="a seed: ask in another order, to measure the noise")] = None,
    any_template: Annotated[
        bool, typer.Option("--any-template", help="evaluate a model that was trained on another chat template")
    ] = False,
    as_json: Json = False,
) -> None:
    """Score one model, or several, on a task and print the table. Interrupted, the same command goes on.

    With several (--model NAME=MODEL, repeated), those of one base share one vLLM engine. Exits with 13 where an
    evaluation is invalid.
    """
    from eval.cache import CACHE
    from eval.engines.base import Sampling
    from eval.engines.registry import check_engine
    from eval.runner import evaluate
    from eval.several import evaluate_several
    from eval.tables import show, summary_grid
    from eval.validity import Limits
    from tasks.registry import load_task
    from toolkit.models import cache_dir

    check_engine(engine)
    if samples > 1 and temperature == 0:
        raise UserError("--samples above 1 needs --temperature above 0: greedy samples are all the same")
    chosen = load_task(task)
    examples = list(chosen.examples(checked_split(split), n, seed))
    note_fewer(chosen.name, split, len(examples), n)
    how: dict[str, Any] = {
        "split": split,
        "seed": seed,
        "engine": engine,
        "sampling": Sampling(max_tokens=max_tokens, temperature=temperature, n=samples, seed=seed),
        "out_dir": out,
        "options": engine_options(option or []),
        "shuffle": shuffle,
        "any_template": any_template,
        "limits": Limits(truncated=max_truncated, failed=max_failed),
        "cache": None if no_cache else cache_dir() / CACHE,
    }
    if len(model) == 1:
        summaries = [evaluate(chosen, examples, model=_model_spec(model[0], engine, served_name), **how)]
    elif served_name is not None:
        raise UserError("--served-name names one model; with several, write --model SERVED_NAME=MODEL")
    else:
        specs = [_named_spec(each, engine) for each in model]
        summaries = list(evaluate_several(chosen, examples, specs, **how).values())
    if as_json:
        print_json({summary.model: summary.to_json() for summary in summaries})
    else:
        for summary in summaries:
            show(summary_grid(summary))
    say(f"the records: {out}")
    say(f"next: {_next(out, [str(each).partition('=')[0] for each in model])}")
    if any(summary.invalid for summary in summaries):
        raise typer.Exit(ExitCode.INVALID)


@app.command()
def compare(
    base: Annotated[Path, typer.Argument(help="evaluation directory of the base")],
    candidate: Annotated[Path, typer.Argument(help="evaluation directory of the candidate")],
    margin: Annotated[float, typer.Option(min=0, max=1, help="a difference within this counts as equal")] = 0.02,
    alpha: Annotated[float, typer.Option(min=0.0001, max=0.5, help="significance level")] = 0.05,
    out: Annotated[Path | None, typer.Option(help="directory for comparison.json")] = None,
    noise: Annotated[Path | None, typer.Option(help="noise floor: a file that `toolkit noise` wrote")] = None,
    as_json: Json = False,
) -> None:
    """Is the candidate better? Exits with 0 better or equal, 10 worse, 11 can't tell, 12 not comparable."""
    from eval.compare import compare as compare_dirs
    from eval.tables import comparison_grid, show

    result = compare_dirs(base, candidate, alpha=alpha, margin=margin, noise=noise, out_dir=out)
    if as_json:
        print_json(result.to_json())
    else:
        show(comparison_grid(result))
    raise typer.Exit(result.exit_code)


def _next(out: Path, names: list[str]) -> str:
    """What to run after an evaluation: of several models the comparison, of one the way to it."""
    if len(names) > 1:
        return shlex.join(["toolkit", "compare", str(out / names[0]), str(out / names[1])])
    return f"toolkit compare ANOTHER {shlex.quote(str(out))}, where ANOTHER is an evaluation of the same examples"


def _model_spec(reference: str, engine: str, served_name: str | None) -> Any:
    from eval.engines.base import ModelSpec
    from eval.engines.registry import WITHOUT_TOKENIZER

    if engine in WITHOUT_TOKENIZER:  # takes a text, or a file of completions
        return ModelSpec(_path_of(reference), None, reference)
    from toolkit.models import resolve_model

    resolved = resolve_model(reference)
    return ModelSpec(resolved.path, resolved.adapter, served_name or reference)


def _path_of(reference: str) -> Path:
    """The path that a text is; of a constant answer that is longer than any path, one without a file."""
    path = Path(reference)
    try:
        path.is_file()
    except OSError:
        return Path(os.devnull)
    return path


def _named_spec(text: str, engine: str) -> Any:
    """One of several models: NAME=MODEL. The name is its directory's."""
    name, equals, reference = text.partition("=")
    if not equals or not re.fullmatch(r"[\w.-]+", name) or name.startswith(".") or not reference:
        raise UserError(
            f"--model {text!r}: with several models write --model NAME=MODEL; a name is letters, digits, ._-"
        )
    if engine == "scripted" and not _path_of(reference).is_file():
        raise UserError(f"--model {text!r}: with several models the scripted engine takes files of completions")
    return replace(_model_spec(reference, engine, None), name=name)
