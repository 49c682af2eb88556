"""The command line. Each verb imports what it needs when it runs, so that help answers at once.

Exit codes: 0 done (compare, run: better or equal), 2 bad input, 10 worse, 11 can't tell, 12 not comparable, 14 an
engine or a training process failed, 130 interrupted.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from rewards.core import UserError

INTERRUPTED = 130

app = typer.Typer(
    help="Train a small model to reason about one task, and prove that it is better than its base.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
task_app = typer.Typer(help="List and check tasks.", no_args_is_help=True)
data_app = typer.Typer(help="Build datasets.", no_args_is_help=True)
app.add_typer(task_app, name="task")
app.add_typer(data_app, name="data")

Recipe = Annotated[Path, typer.Argument(metavar="CONFIG", help="a recipe, such as configs/demo.yaml")]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="A.B=VALUE", help="override a key of the recipe")]
TaskRef = Annotated[str, typer.Option("--task", help="a built-in task, a .py file, or an installed plugin")]
ModelRef = Annotated[
    str, typer.Option("--model", help="hub id, directory (model or adapter), .gguf file, or package:NAME")
]
SplitName = Annotated[str, typer.Option("--split", help="train, validation or test")]
Seed = Annotated[int, typer.Option(min=0, help="of the examples")]


def say(line: str) -> None:
    """Progress, for a person: stderr, so that stdout holds results only."""
    print(line, file=sys.stderr, flush=True)


@task_app.command("list")
def task_list() -> None:
    """Name every task that is built in or installed."""
    from tasks.registry import task_names

    for name, description in task_names():
        print(f"{name}\t{description}")


@task_app.command("check")
def task_check(
    task: Annotated[str, typer.Argument(help="the task to check")],
    n: Annotated[int, typer.Option(min=1, help="examples of each split")] = 2000,
    seed: Seed = 0,
) -> None:
    """Check a task without a model: gold scores full marks, cheats don't, splits are disjoint, builds repeat."""
    from tasks.check import inspect_task
    from tasks.registry import load_task

    report = inspect_task(load_task(task), n, seed)
    for split, counts in report.counts.items():
        print(f"{split}: {counts.examples} examples, {counts.groups} groups")
        for tag, values in counts.tags.items():
            print(f"  {tag}: " + ", ".join(f"{value} {count}" for value, count in sorted(values.items())))
    if report.problems:
        raise UserError("\n".join(report.problems), 1)
    print("no problems found")


@data_app.command("build")
def data_build(
    task: TaskRef,
    out: Annotated[Path, typer.Option(help="the JSONL file to write")],
    split: SplitName = "train",
    n: Annotated[int, typer.Option(min=1, help="number of examples")] = 1000,
    seed: Seed = 0,
) -> None:
    """Write n examples of a split as JSONL, one example a line."""
    from tasks.registry import load_task
    from toolkit.data import write_examples

    chosen = load_task(task)
    try:
        written = write_examples(out, chosen.examples(_split(split), n, seed))
    except OSError as error:
        raise UserError(f"{out}: can't be written: {error.strerror}") from error
    say(f"{out}: {written} examples of {chosen.name}, {split}, seed {seed}")


@data_app.command("inspect")
def data_inspect(
    target: Annotated[str, typer.Argument(metavar="FILE|CONFIG", help="a file of conversations, or a recipe")],
    model: Annotated[str | None, typer.Option(help="render and tokenize for it; default: the recipe's")] = None,
    html: Annotated[Path | None, typer.Option(help="write a page as well")] = None,
    quarantine: Annotated[Path | None, typer.Option(help="with a model: where to write the bad rows, JSONL")] = None,
    overrides: Set = None,
) -> None:
    """Show what the model will really see: counts, bad rows, twins; with a model, tokens, labels and lengths."""
    from eval.files import write_atomically
    from toolkit.conversations.inspecting import config_of, inspect
    from toolkit.conversations.showing import html_page, show_inspection

    found = inspect(*config_of(target, overrides or [], model), quarantine)
    show_inspection(found)
    if html is not None:
        write_atomically(html, html_page(found))
        say(f"the page: {html}")
    if found.problems:
        raise UserError("\n".join(found.problems), 1)


@app.command()
def sft(config: Recipe, overrides: Set = None) -> None:
    """Build the data and train the SFT adapter of a recipe."""
    _stages(config, overrides, until="sft")


@app.command()
def grpo(config: Recipe, overrides: Set = None) -> None:
    """Train the GRPO adapter of a recipe, going on from its SFT adapter."""
    _stages(config, overrides, until="grpo")


@app.command()
def run(config: Recipe, overrides: Set = None) -> None:
    """Run every stage of a recipe that isn't done yet, and print the outcome."""
    from toolkit.report import print_outcome

    opened = _stages(config, overrides)
    if opened.recipe.task is None:  # conversations alone: no reward, nothing to compare
        print(f"the model: {opened.dir / 'model'}")
        return
    raise typer.Exit(print_outcome(opened))


def _stages(config: Path, overrides: list[str] | None, until: str | None = None) -> Any:
    from toolkit.config import load_recipe
    from toolkit.rundir import locked, open_run
    from toolkit.stages import ensure, stages_of

    recipe = load_recipe(config, overrides or [])
    stages = stages_of(recipe)
    if until is not None and until not in stages:
        raise UserError(f"{config}: has no section {until!r}; add one, or use another verb")
    opened = open_run(recipe)
    before = [] if until is None else [name for name in stages[: stages.index(until)] if name in ("data", "sft")]
    with locked(opened):
        if until == "grpo" and "sft" in before and not opened.is_done("sft"):
            raise UserError(f"{opened.dir} has no finished SFT stage to go on from; first: toolkit sft {config}")
        for stage in stages if until is None else [*before, until]:
            ensure(opened, stage, say)
    return opened


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
) -> None:
    """Score a model on a task and print the table. Interrupted, the same command goes on."""
    from eval.engines.base import Sampling
    from eval.engines.registry import check_engine
    from eval.runner import evaluate
    from eval.tables import show, summary_grid
    from tasks.registry import load_task

    check_engine(engine)
    if samples > 1 and temperature == 0:
        raise UserError("--samples above 1 needs --temperature above 0: greedy samples are all the same")
    chosen = load_task(task)
    summary = evaluate(
        chosen,
        list(chosen.examples(_split(split), n, seed)),
        split=split,
        seed=seed,
        model=_model_spec(model, engine, served_name),
        engine=engine,
        sampling=Sampling(max_tokens=max_tokens, temperature=temperature, n=samples, seed=seed),
        out_dir=out,
        options=_options(option or []),
    )
    show(summary_grid(summary))


@app.command()
def compare(
    base: Annotated[Path, typer.Argument(help="evaluation directory of the base")],
    candidate: Annotated[Path, typer.Argument(help="evaluation directory of the candidate")],
    margin: Annotated[float, typer.Option(min=0, max=1, help="a difference within this counts as equal")] = 0.02,
    alpha: Annotated[float, typer.Option(min=0.0001, max=0.5, help="significance level")] = 0.05,
    out: Annotated[Path | None, typer.Option(help="directory for comparison.json")] = None,
) -> None:
    """Is the candidate better? Exits with 0 better or equal, 10 worse, 11 can't tell, 12 not comparable."""
    from eval.compare import compare as compare_dirs
    from eval.tables import comparison_grid, show

    result = compare_dirs(base, candidate, alpha=alpha, margin=margin, out_dir=out)
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


def _split(name: str) -> Any:
    from tasks.base import SPLITS

    if name not in SPLITS:
        raise UserError(f"unknown split {name!r}; choose one of: {', '.join(SPLITS)}")
    return name


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


def main(arguments: list[str] | None = None) -> None:
    """The console script. Errors that a person can put right are one line each; the rest keeps its traceback."""
    sys.exit(_exit_code(lambda: app(arguments, standalone_mode=True)))


def _exit_code(call: Callable[[], Any]) -> int:
    try:
        call()
    except UserError as error:
        for line in str(error).splitlines():
            say(f"error: {line}")
        return error.exit_code
    except SystemExit as end:
        if end.code == INTERRUPTED:  # typer's own answer to Ctrl-C, without a word
            say("interrupted; the same command goes on where it stopped")
        raise
    return 0


if __name__ == "__main__":
    main()
