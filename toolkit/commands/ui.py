"""toolkit ui: a local page on runs, with a box to ask their models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rewards.core import UserError
from toolkit.commands.shared import engine_options

app = typer.Typer()

ENGINES = ("transformers", "vllm", "scripted")


@app.command()
def ui(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN…", help="run directories, or folders that hold some")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="of 127.0.0.1; 0: any free one")] = 8050,
    engine: Annotated[str, typer.Option(help="that answers the box: transformers, vllm or scripted")] = "transformers",
    option: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="an option of the engine")] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="new tokens of an answer")] = 256,
) -> None:
    """Show runs on a local page while they train, and ask the tuned and the base model side by side, until Ctrl-C."""
    from eval.engines.registry import check_engine
    from toolkit.models import cache_dir
    from toolkit.quiet import output_to
    from toolkit.ui.app import serve
    from toolkit.ui.asking import Asker

    if engine not in ENGINES:
        raise UserError(f"--engine {engine!r}: the box is answered by one of: {', '.join(ENGINES)}")
    check_engine(engine)
    with output_to(cache_dir() / "ui.log") as terminal:
        serve(runs, Asker(engine, engine_options(option or []), max_tokens), port, terminal)
