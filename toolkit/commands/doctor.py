"""toolkit doctor: can this machine run this recipe?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rewards.core import ExitCode
from toolkit.commands.shared import Json, Set, print_json, say

app = typer.Typer()
DEMO = Path("configs/demo.yaml")


@app.command()
def doctor(
    config: Annotated[Path, typer.Argument(metavar="[CONFIG]", help="the recipe to run here")] = DEMO,
    overrides: Set = None,
    as_json: Json = False,
) -> None:
    """Check drivers, packages, memory and disk against a recipe. Exits with 0 if it can run here, else 14."""
    from dataclasses import replace

    from toolkit.config import load_recipe
    from toolkit.doctor.checks import diagnose
    from toolkit.doctor.gather import gather, nvidia
    from toolkit.doctor.needs import needs_of, unread
    from toolkit.doctor.report import lines, to_json
    from toolkit.models import cache_dir

    recipe = load_recipe(config, overrides or [])
    needs = replace(needs_of(recipe, has_gpu=bool(nvidia()[2])), unread=unread(recipe))
    say("trying each package in a process of its own: half a minute or so")
    extra = ["bitsandbytes", "flash_attn", "xformers"] if recipe.model.backend == "unsloth" else []
    facts = gather([*needs.packages, *extra], {"run": recipe.output, "cache": cache_dir()})
    diagnosis = diagnose(facts, needs)
    if as_json:
        print_json(to_json(diagnosis, facts, str(config)))
    else:
        print("\n".join(lines(diagnosis, facts, str(config))))
    raise typer.Exit(ExitCode.OK if diagnosis.can_run else ExitCode.FAILED)
