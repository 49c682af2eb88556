"""toolkit scan: what GRPO would find to learn from."""

from __future__ import annotations

import shlex
from typing import Annotated

import typer

from rewards.core import UserError
from toolkit.commands.shared import Json, Recipe, Set, command_line, next_line, print_json, say

app = typer.Typer()


@app.command("scan")
def scan_prompts(
    config: Recipe,
    overrides: Set = None,
    prompts: Annotated[int, typer.Option(min=1, help="prompts of data.grpo that are asked")] = 256,
    samples: Annotated[int, typer.Option(min=2, help="answers to each")] = 16,
    temperature: Annotated[float | None, typer.Option(min=0.01, help="default: grpo.temperature")] = None,
    engine: Annotated[str | None, typer.Option(help="default: eval.engine")] = None,
    as_json: Json = False,
) -> None:
    """Sample answers to GRPO's prompts: pass rates, dead groups, advice. Before `toolkit grpo`."""
    from dataclasses import asdict

    from eval.tables import show
    from toolkit.data_stage import refuse_changed
    from toolkit.rundir import opened, recipe_of
    from toolkit.scan import REPORT, grpo_of, scan, scan_grid
    from toolkit.stages import ensure
    from toolkit.training.preflight_rewards import check_groups

    recipe = recipe_of(config, overrides or [])
    grpo_of(recipe)
    with opened(recipe) as run:
        ensure(run, "data", say)
        refuse_changed(run, "scan")
        if run.recipe.sft is not None:
            if not run.is_done("sft"):
                first = command_line("sft", config, overrides)
                raise UserError(f"{run.dir} has no finished SFT stage to scan; first: {first}")
            ensure(run, "merge-sft", say)
        found = scan(run, prompts, samples, temperature, engine)
        ends = any(each.level == "problem" for each in check_groups(run))
    if as_json:
        print_json(asdict(found))
    else:
        show(scan_grid(found, run.dir / "scan" / REPORT))
    accepted = run.recipe.preflight.accept
    following = next_line("grpo", config, overrides, run.dir)
    if ends and "groups" not in accepted:
        accept = f"preflight.accept=[{', '.join([*accepted, 'groups'])}]"
        say(
            f"next: not GRPO, whose preflight ends on such groups. {'; '.join(found.advice)}; or accept it: "
            f"{following} --set {shlex.quote(accept)}"
        )
    else:
        say(f"next: {following}")
