"""toolkit rescore: stored completions under the scorer as it is now."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from rewards.core import UserError
from toolkit.commands.shared import Json, print_json, say

app = typer.Typer()


@app.command()
def rescore(
    directory: Annotated[Path, typer.Argument(metavar="EVAL_DIR", help="an evaluation's directory")],
    task: Annotated[str | None, typer.Option(help="default: the task that the evaluation names")] = None,
    out: Annotated[Path | None, typer.Option(help="a new directory; default: EVAL_DIR-rescored")] = None,
    against: Annotated[
        Path | None, typer.Option(help="an older evaluation: split EVAL_DIR's difference to it into scorer and model")
    ] = None,
    show: Annotated[int, typer.Option(min=0, help="moved completions to print of each kind")] = 5,
    as_json: Json = False,
) -> None:
    """Score an evaluation's completions again, into a new directory. No model is asked, nothing is written over."""
    from dataclasses import asdict

    from eval.rescore import attribute, free_directory, write_rescored
    from eval.rescore import rescore as score_again
    from eval.rescore_tables import attribution_grid, rescored_grid
    from eval.tables import show as print_grid

    chosen = _task(directory, task)
    found = score_again(directory, chosen)
    if against is not None:
        older = score_again(against, chosen)
        parts = attribute(found, older)
        if as_json:
            print_json({**asdict(parts), "scorer": parts.scorer, "model": parts.model})
        else:
            print_grid(attribution_grid(parts, found, older))
    elif as_json:
        before, after = found.statuses()
        print_json({"completions": len(found.old), "moved": len(found.moved), "old": before, "new": after})
    else:
        print_grid(rescored_grid(found, show))
    if against is None or out is not None:
        target = out or free_directory(directory)
        write_rescored(found, chosen, target)
        place = directory.resolve()
        of_run = place.name in ("base", "tuned") and (place.parent.parent / "recipe.yaml").is_file()
        further = f"; in the place of {directory}, the same `toolkit run` compares them" if of_run else ""
        say(f"the new scores: {target}{further}")


def _task(directory: Path, name: str | None) -> Any:
    from eval.manifest import read_manifest
    from tasks.registry import load_task

    if name is not None:
        return load_task(name)
    stored = read_manifest(directory)["identity"]["task"]
    try:
        return load_task(stored)
    except UserError as error:
        raise UserError(f"{directory}: was asked of task {stored!r}; name where it is with --task: {error}") from error
