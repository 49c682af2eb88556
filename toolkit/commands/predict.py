"""toolkit predict: ask a model one question, or every row of a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rewards.core import ExitCode, UserError
from toolkit.commands.shared import Json, ModelRef, say

app = typer.Typer()


@app.command()
def predict(
    model: ModelRef,
    text: Annotated[str | None, typer.Argument(help="what the person said; or give --file")] = None,
    now: Annotated[
        str | None, typer.Option(help="the moment, where the task's prompt states one: 2025-01-17 or 2025-01-17T10:30")
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="default: the task (or conversations) that the model was trained on")
    ] = None,
    max_tokens: Annotated[int, typer.Option(min=1)] = 256,
    as_json: Json = False,
    file: Annotated[Path | None, typer.Option(help="a CSV, JSONL, … to ask every row of")] = None,
    out: Annotated[Path | None, typer.Option(help="with --file: the .csv or .jsonl to write")] = None,
    text_column: Annotated[str, typer.Option(help="with --file: what the person said")] = "text",
    now_column: Annotated[str | None, typer.Option(help="with --file: the moment of each row; default: --now")] = None,
    engine: Annotated[str, typer.Option(help="with --file: vllm, transformers, or scripted")] = "vllm",
) -> None:
    """Ask a model one question and print its reasoning and answer; or ask every row of a file (--file, --out).

    Of a file, exits with 1 where some rows have no answer.
    """
    if file is None:
        from toolkit.predict import predict_one, print_prediction

        if text is None:
            raise UserError("give the text; or --file and --out, to ask every row of a file")
        print_prediction(predict_one(text, model, now, task, max_tokens), as_json)
        return
    from toolkit.predict_file import Columns, predict_file

    if text is not None or as_json:
        raise UserError("with --file, the texts come from its rows and the results go to --out")
    if out is None:
        raise UserError("with --file, give --out")
    if now is not None and now_column is not None:
        raise UserError("give either --now or --now-column")
    counts = predict_file(file, out, model, Columns(text_column, now_column, now), task, engine, max_tokens)
    say(f"{out}: " + ", ".join(f"{number} {status}" for status, number in counts.items()))
    if set(counts) - {"answered"}:
        raise typer.Exit(ExitCode.FAULTS)
