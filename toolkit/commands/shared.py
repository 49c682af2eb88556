"""What several verbs share: arguments that mean the same everywhere, and a line to the person."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from eval.progress import say as say
from rewards.core import UserError

Recipe = Annotated[
    Path, typer.Argument(metavar="CONFIG", help="a recipe, such as configs/demo.yaml, or a run directory")
]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="A.B=VALUE", help="override a key of the recipe")]
TaskRef = Annotated[str, typer.Option("--task", help="a built-in task, a .py or .yaml file, or an installed plugin")]
ModelRef = Annotated[
    str, typer.Option("--model", help="hub id, directory (model, adapter or run), .gguf file, or package:NAME")
]
ChatTemplate = Annotated[
    str | None, typer.Option("--chat-template", help="a shipped one (chatml, llama-3.1, gemma, qwen-3) or a file")
]
SplitName = Annotated[str, typer.Option("--split", help="train, validation or test")]
Seed = Annotated[int, typer.Option(min=0, help="of the examples")]
Json = Annotated[bool, typer.Option("--json", help="print one JSON object")]


def command_line(verb: str, config: Path, overrides: list[str] | None = None) -> str:
    """The command of another verb on the same recipe, to be pasted into a shell."""
    return shlex.join(["toolkit", verb, str(config), *(word for each in overrides or [] for word in ("--set", each))])


def next_line(verb: str, config: Path, overrides: list[str] | None, run: Path) -> str:
    """The same for what comes next; with overrides by the recipe that the run keeps, since it holds them all."""
    return command_line(verb, run / "recipe.yaml" if overrides else config)


def print_json(value: Any) -> None:
    """A result for a program: one JSON object on stdout."""
    print(json.dumps(value, ensure_ascii=False, indent=2))


def checked_split(name: str) -> Any:
    """The name of a split. Raises UserError for another name."""
    from tasks.base import SPLITS

    if name not in SPLITS:
        raise UserError(f"unknown split {name!r}; choose one of: {', '.join(SPLITS)}")
    return name


def note_fewer(task: str, split: str, found: int, n: int) -> None:
    """Say that a split has fewer examples than were asked for."""
    if 0 < found < n:
        say(f"note: the split {split} of {task} has {found} examples, not {n}")


def with_template(overrides: list[str] | None, chat_template: str | None) -> list[str]:
    """--chat-template as the override that it stands for."""
    return [*(overrides or []), *([] if chat_template is None else [f"model.chat_template={chat_template}"])]


def refuse_input(out: Path | None, option: str, inputs: Iterable[str | Path]) -> None:
    """Raises UserError for a file to write that is one of those to read, or a table in a folder of them."""
    from tasks.tables.source import SUFFIXES

    if out is None or not out.exists():
        return
    for each in (Path(path).expanduser() for path in inputs):
        table = each.is_dir() and out.suffix.lower() in SUFFIXES and out.resolve().parent == each.resolve()
        if table or (each.exists() and out.samefile(each)):
            raise UserError(f"{option} {out}: would overwrite what is read ({each}); choose another {option}")


def engine_options(pairs: list[str]) -> dict[str, Any]:
    """What --option KEY=VALUE stands for. Raises UserError for a pair that isn't one."""
    from tasks.yaml_files import yaml_value

    options = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise UserError(f"--option {pair!r}: write KEY=VALUE, for instance --option dtype=float32")
        options[key] = yaml_value(value, f"--option {pair!r}")
    return options
