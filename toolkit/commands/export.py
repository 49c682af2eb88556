"""toolkit export: the trained model out of its run."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Annotated

import typer

from toolkit.commands.shared import say

app = typer.Typer()


@app.command("export")
def export_model(
    source: Annotated[Path, typer.Argument(metavar="RUN|MODEL", help="the directory of a run, an adapter or a model")],
    to: Annotated[str, typer.Option(help="adapter, merged, gguf or hub")],
    out: Annotated[Path, typer.Option(help="the directory to make")],
    gguf_type: Annotated[str, typer.Option(help="gguf: f16, bf16, f32 or q8_0")] = "f16",
    repo: Annotated[str | None, typer.Option(help="hub: owner/name")] = None,
    what: Annotated[str, typer.Option(help="hub: adapter or merged")] = "merged",
    public: Annotated[bool, typer.Option("--public", help="hub: for everybody to see; private without")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="hub: write and check, but push nothing")] = False,
) -> None:
    """Export a trained model, check that it is the same model, and write its card."""
    # Before torch is imported: threads that spin while they wait stand still as soon as others want the cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from toolkit.export.run import export

    export(source, to, out, say, gguf_type=gguf_type, repo=repo, what=what, public=public, dry_run=dry_run)
    if to == "merged":
        say(f"next: toolkit serve {shlex.quote(str(out))}")
