"""toolkit data: build and inspect datasets."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Annotated

import typer

from rewards.core import ExitCode, UserError
from toolkit.commands.shared import (
    ChatTemplate,
    Json,
    Seed,
    Set,
    SplitName,
    TaskRef,
    checked_split,
    note_fewer,
    print_json,
    refuse_input,
    say,
    with_template,
)

app = typer.Typer(help="Build datasets.", no_args_is_help=True)


@app.command("build")
def data_build(
    task: TaskRef,
    out: Annotated[Path, typer.Option(help="the JSONL file to write")],
    split: SplitName = "train",
    n: Annotated[int, typer.Option(min=1, help="number of examples")] = 1000,
    seed: Seed = 0,
) -> None:
    """Write n examples of a split as JSONL, one example a line."""
    from tasks.registry import load_task, task_files
    from toolkit.data import example_lines, write_lines

    chosen = load_task(task)
    refuse_input(out, "--out", task_files(task))
    lines = iter(example_lines(chosen, checked_split(split), n, seed))
    if (first := next(lines, None)) is None:  # before it takes the place of a file that has some
        raise UserError(
            f"task {chosen.name!r} has no examples in split {split!r}; choose another with --split, "
            f"or see `toolkit task check {task}`"
        )
    try:
        written = write_lines(out, chain([first], lines))
    except OSError as error:
        raise UserError(f"{out}: can't be written: {error.strerror}") from error
    note_fewer(chosen.name, split, written, n)
    say(f"{out}: {written} examples of {chosen.name}, {split}, seed {seed}")


@app.command("inspect")
def data_inspect(
    target: Annotated[str, typer.Argument(metavar="FILE|CONFIG", help="a file of conversations, or a recipe")],
    model: Annotated[str | None, typer.Option(help="render and tokenize for it; default: the recipe's")] = None,
    html: Annotated[Path | None, typer.Option(help="write a page as well")] = None,
    quarantine: Annotated[Path | None, typer.Option(help="where to write the bad rows, JSONL")] = None,
    chat_template: ChatTemplate = None,
    overrides: Set = None,
    as_json: Json = False,
) -> None:
    """Show what the model will really see: counts, bad rows, twins; with a model, tokens, labels and lengths."""
    from dataclasses import asdict

    from eval.files import write_atomically
    from toolkit.conversations.inspecting import config_of, inspect
    from toolkit.conversations.showing import html_page, show_inspection

    data, spec = config_of(target, with_template(overrides, chat_template), model)
    read = [target, data.path, *([spec.chat_template] if spec and spec.chat_template else [])]
    refuse_input(html, "--html", read)
    refuse_input(quarantine, "--quarantine", read)
    found = inspect(data, spec, quarantine)
    if as_json:
        print_json(asdict(found))
    else:
        show_inspection(found)
    if html is not None:
        write_atomically(html, html_page(found))
        say(f"the page: {html}")
    if found.problems:
        raise UserError("\n".join(found.problems), ExitCode.FAULTS)
